"""Dozens of simulated worlds keep their promises, and each way to build Backburner wrong is found.

`make simulate` runs as many as asked for, and replays a seed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from tests.oracle import Observation
from tests.simulation.life import Report, run
from tests.simulation.mutants import MUTANTS
from tests.simulation.world import KINDS

SEEDS = 80
CHUNK = 5


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_whatever_goes_wrong_the_promises_are_kept(first: int) -> None:
    for seed in range(first, first + CHUNK):
        report = run(seed)
        assert not report.broken, told(report)


def told(report: Report) -> str:
    replay = f"make simulate ARGS='--seed {report.seed}'"
    return "\n".join([f"seed {report.seed}, replayed by {replay}", *report.broken])


def test_a_seed_is_one_story() -> None:
    first, second, other = run(7), run(7), run(8)
    assert first.hash == second.hash
    assert (first.steps, first.faults) == (second.steps, second.faults)
    assert first.hash != other.hash


def test_a_seed_is_the_same_story_in_another_process() -> None:
    """Where strings are hashed, and so sets are ordered, in another way."""
    code = "from tests.simulation.life import run; print(run(7).hash)"
    here = Path(__file__).parents[2]
    for salt in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": salt}
        out = subprocess.run(
            [sys.executable, "-c", code],
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert out.stdout.strip() == run(7).hash


@pytest.mark.timeout(300)
def test_the_worlds_are_as_bad_as_they_claim() -> None:
    """Each kind of fault happens, and each kind of thing is seen: else the rest proves little."""
    reports = [run(seed) for seed in range(1000, 1020)]
    assert {kind for report in reports for kind in report.faults} == set(KINDS)
    seen = {kind for report in reports for kind in report.observations}
    assert seen >= {kind.__name__ for kind in get_args(Observation)} - {"Effect"}


@pytest.mark.parametrize("seed", [1, 3, 5])
def test_a_leap_leaves_behind_what_the_time_would_have(seed: int) -> None:
    """The same hours without faults, lived through and leapt over: the same has fired, while both lasted."""
    lived = run(seed, KINDS, trace=True, leaps=False)
    leapt = run(seed, KINDS, trace=True, leaps=True)
    assert not lived.broken + leapt.broken
    assert lived.leapt == 0.0
    assert leapt.leapt > leapt.hours / 2
    both = min(max(fired(lived)), max(fired(leapt)))
    assert {due for due in fired(lived) if due <= both} == {due for due in fired(leapt) if due <= both}


def fired(report: Report) -> set[tuple[float, str]]:
    """What was fired when, of the schedules whose fires depend on no job's end."""
    found = re.findall(r"schedule='(all|newest)', due=([0-9.]+)", "\n".join(report.trace))
    return {(float(due), schedule) for schedule, due in found}


@pytest.mark.parametrize("name", MUTANTS)
def test_each_way_to_build_it_wrong_is_found(name: str) -> None:
    make, words, seed = MUTANTS[name]
    assert not run(seed).broken, "the seed finds something without the mutant"
    with make():
        report = run(seed)
    assert any(words in promise for promise in report.broken), report.broken
