"""The benchmark keeps working. How fast anything is depends on the machine, and is not tested."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_short_run_gives_every_figure_and_judges_every_aim(tmp_path: Path) -> None:
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"

    ended = bench("--short", "--repeats=1", f"--json={figures}", f"--write={page}")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(figures.read_text())
    assert len(found["aims"]) == 6
    for name, figure in found["figures"].items():
        # Half a second of idling may well be less than a tick of the kernel's clock.
        assert figure["median"] > 0 or name.startswith("processor"), name
        assert name in page.read_text()
        assert name.split(",")[0] in ended.stdout
    assert found["command"] in page.read_text()


def test_an_unknown_measure_is_refused_with_the_ones_there_are() -> None:
    ended = bench("--only=drain,speed")

    assert ended.returncode == 2
    assert "'speed' is none of enqueue, drain, pickup, idle, deep" in ended.stderr


@pytest.mark.timeout(180)
def test_rabbitmq_is_measured_beside_the_bare_loop_and_dramatiq(
    rabbit_server: object, tmp_path: Path
) -> None:
    figures = tmp_path / "figures.json"

    ended = bench("--only=rabbitmq", "--short", "--repeats=1", f"--json={figures}")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(figures.read_text())
    assert len(found["aims"]) == 3
    assert all(figure["median"] > 0 for figure in found["figures"].values())
