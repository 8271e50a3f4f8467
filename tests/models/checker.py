"""Explores a model with spin: every state that it can reach.

1. spin makes a C program of the model, with the bounds and the variant that are asked for.
2. That is compiled and run. It stops at the first promise that is broken, or has seen everything.
3. The way to a broken promise is played again and told step by step.

By hand, with other bounds or a variant: `python -m tests.models.checker JOBS=1 FAULTS=1 NO_FENCE`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.servers.base import program
from tools.packages import find
from tools.servers import SPIN

MODEL = Path(__file__).with_name("life_of_a_job.pml")
DEEPEST = 100_000
MEMORY = 8_000
"""Megabytes. A run that wants more fails."""


class Explored(NamedTuple):
    """What spin found."""

    states: int
    broken: str | None
    """The promise, if one is broken."""
    story: list[str]
    """The steps to where it breaks."""


def explore(folder: Path, *switches: str, cycles: bool = False) -> Explored:
    """Explore the model with these switches (`JOBS=1`, `NO_FENCE`), in a folder for what is made.

    With `cycles` a run that never ends counts as broken, too. Raises `AssertionError` if not all was seen.
    Nothing is left out of the search as equivalent (-DNOREDUCE): it costs a third more time, and is one thing
    less to believe.
    """
    defines = [f"-D{switch}" for switch in switches]
    model = folder / MODEL.name
    model.write_text(MODEL.read_text())
    _run(folder, str(program(SPIN)), *defines, "-a", model.name)
    kind = "-DNP" if cycles else "-DSAFETY"
    _run(folder, str(find("cc")), "-O1", "-w", kind, "-DNOREDUCE", f"-DMEMLIM={MEMORY}", "-o", "pan", "pan.c")
    report = _run(folder, "./pan", "-n", f"-m{DEEPEST}", *(["-l"] if cycles else []))
    found = re.search(r"(\d+) states, stored", report)
    assert found, report
    broken = re.search(r"pan:\d+: (?:assertion violated\s+!\(?(\w+)\)?|(.+) \()", report)
    if broken is None:
        assert "errors: 0" in report, report
        assert not re.search(r"not completed|depth too small|out of memory", report), report
        return Explored(int(found[1]), None, [])
    told = _run(folder, str(program(SPIN)), *defines, "-t", "-p", model.name)
    return Explored(int(found[1]), broken[1] or broken[2], _story(told, model.read_text().splitlines()))


def _story(told: str, lines: list[str]) -> list[str]:
    """Which process did what, by the words beside the line of the model that it chose."""
    story: list[str] = []
    for process, name, number in re.findall(r"proc +(\d+) \((\w+)\S*\) \S+?:(\d+) \(state", told):
        words = re.match(r"\s*:: /\* (.+?) \*/", lines[int(number) - 1])
        # The first two pairs of processes are those of the two workers.
        who = f"{name} {(int(process) - 1) // 2}" if name in ("Store", "Worker") else name
        step = f"{who}: {words[1]}" if words else ""
        if step and step not in story[-1:]:
            story.append(step)
    return story


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        result = explore(Path(made), *sys.argv[1:])
    print(*result.story, sep="\n")
    print(f"{result.states:,} states; broken: {result.broken or 'nothing'}")
