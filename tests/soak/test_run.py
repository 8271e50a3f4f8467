"""A short run of `python -m soak`: it passes, and it fails when the tasks leak."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(180)  # two dozen processes start and end

SHORT = ("--broker=sqlite", "--minutes=0.17", "--rate=20", "--warm-up=4", "--interval=0.25")


def run(folder: Path, *options: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    out = ("--json", str(folder / "out.json"), "--plots", str(folder))
    done = subprocess.run(
        [sys.executable, "-m", "soak", *SHORT, *out, *options], capture_output=True, text=True, check=False
    )
    [outcome] = json.loads((folder / "out.json").read_bytes())
    return done, outcome


def test_a_short_run_passes(tmp_path: Path) -> None:
    done, outcome = run(tmp_path)
    assert done.returncode == 0, (outcome["complaints"], done.stdout, done.stderr)
    assert outcome["passed"]
    assert outcome["sent"] > 50
    assert outcome["complaints"] == []
    assert {"supervisor, memory", "worker 1, threads", "worker 2, descriptors", "producer, memory"} <= set(
        outcome["samples"]
    )
    assert {"sqlite, size", "jobs, backlog", "jobs, pick-up p99", "jobs, result p99"} <= set(
        outcome["samples"]
    )
    assert (tmp_path / "sqlite.svg").read_text().rstrip().endswith("</svg>")


@pytest.mark.long
def test_a_run_whose_tasks_leak_fails_and_says_what_grows(tmp_path: Path) -> None:
    done, outcome = run(tmp_path, "--leak=memory", "--leak=descriptors", "--leak=threads")
    assert done.returncode == 1, done.stdout + done.stderr
    for what in "memory", "descriptors", "threads":
        assert any(
            line.startswith(f"sqlite: worker {number}: {what} grows by ")
            for line in outcome["complaints"]
            for number in (1, 2)
        ), outcome["complaints"]
    assert "tracemalloc" in done.stdout
