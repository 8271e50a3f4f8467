"""The comparison of what is lost keeps working; other libraries are left to `make losses`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from peers.environments import PACKAGES
from peers.losses import judge
from peers.systems import SYSTEMS


@pytest.mark.xdist_group("heavy")
def test_a_run_counts_what_backburner_loses(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    options = ["--only=backburner@sqlite", "--seconds=4", "--seed=1", f"--json={figures}"]
    ended = subprocess.run(
        [sys.executable, "-m", "peers", *options], capture_output=True, text=True, check=False, timeout=55
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    [run] = msgspec.json.decode(figures.read_bytes())
    assert run["accepted"] > 20
    assert run["worker_kills"] >= 2
    assert (run["name"], run["lost"], run["stuck"]) == ("backburner on sqlite", 0, 0)
    assert "| backburner on sqlite | its defaults |" in ended.stdout


def test_what_never_ran_is_lost_and_what_ran_twice_is_told() -> None:
    outcome = judge([1, 2, 3], [4], [1, 1, 3, 4], stuck=0, worker_kills=5, broker_kills=1, seconds=2.0)
    assert (outcome.accepted, outcome.refused, outcome.lost, outcome.again) == (3, 1, 1, 1)


def test_an_unknown_library_is_told() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "peers", "--only=carrier_pigeon"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "celery@redis" in ended.stderr


def test_each_library_has_an_environment_of_its_own() -> None:
    assert {system.library for system in SYSTEMS} - PACKAGES.keys() == {"backburner"}
