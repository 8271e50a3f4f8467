"""A wrong argument is found before the program runs, under `mypy --strict` and under pyright."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
ERROR = re.compile(r"(\w+)\.py:(\d+):.* error: ")
# Both are strict: see [tool.mypy] and [tool.pyright] in pyproject.toml.
CHECKERS = {"mypy": ["mypy"], "pyright": ["pyright", "--pythonpath", sys.executable]}


def check(checker: str, file: str) -> str:
    command = [sys.executable, "-m", *CHECKERS[checker], str(FOLDER / file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("checker", CHECKERS)
def test_right_use_is_accepted_with_exact_types(checker: str) -> None:
    output = check(checker, "api.py")
    assert re.search(r"^(0 errors|Success: no issues)", output, re.MULTILINE), output


@pytest.mark.parametrize("checker", CHECKERS)
def test_every_mistake_is_flagged_and_nothing_else(checker: str) -> None:
    lines = (FOLDER / "mistakes.py").read_text().splitlines()
    mistakes = {number for number, line in enumerate(lines, start=1) if line.endswith("# mistake")}
    output = check(checker, "mistakes.py")
    flagged = {int(line) for file, line in ERROR.findall(output) if file == "mistakes"}
    assert flagged == mistakes, output
