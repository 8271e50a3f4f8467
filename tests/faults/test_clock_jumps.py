"""The wall clock of the machine jumps, forward and back, while jobs run and wait there."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from backburner import Backburner
from tests.faults.brokers import BROKERS, url_of
from tests.faults.harness import TASKS, effects, marks, node, open_gate, started, wait_until

SHORT = {"lease": 3.0, "heartbeat": 0.5}
HOUR = 3600
CLOCK = """
import time
from pathlib import Path

right, file = time.time, Path(__file__).with_name("shift.txt")
time.time = lambda: right() + float(file.read_text())
"""
"""Python imports it before all else: what the system tells its programs of the time is wrong by so much."""


def set_clock(folder: Path, shift: float) -> None:
    """Seconds by which it goes wrong from now on, at once for all processes."""
    new = folder / "new.txt"
    new.write_text(str(shift))
    new.replace(folder / "shift.txt")


def have_run(folder: Path, ids: set[str]) -> bool:
    return ids <= effects(folder).keys()


@pytest.mark.long
@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("broker", BROKERS)
@pytest.mark.parametrize("shift", [HOUR, -HOUR], ids=["forward", "back"])
def test_what_runs_goes_on_and_what_comes_is_run(
    broker: str, shift: float, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = url_of(broker, request, tmp_path)
    app = Backburner(url)
    (tmp_path / "sitecustomize.py").write_text(CLOCK)
    set_clock(tmp_path, 0)
    environment = {"FAULTS_URL": url, "PYTHONPATH": f"{TASKS.parent}:{tmp_path}"}
    running = app.named("fault_tasks.gated").enqueue_many([("gate",)] * 5)
    with node(tmp_path, "--health", "127.0.0.1:0", settings=SHORT, environment=environment) as workers:
        wait_until(lambda: started(tmp_path) == 5, "the jobs run")
        pids = workers.pids()
        set_clock(tmp_path, shift)
        during = app.named("fault_tasks.quick").enqueue_many([(0.0,)] * 5)
        dated = app.enqueue("fault_tasks.on_time", time.time() + shift / 2)
        during.append(dated)
        wait_until(partial(have_run, tmp_path, {job.id for job in during}), "new ones run")
        early = marks(tmp_path, "early.txt")
        assert (dated.id in early) is (shift < 0), "the clock of the workers is wrong indeed"
        set_clock(tmp_path, 0)
        after = app.named("fault_tasks.quick").enqueue_many([(0.0,)] * 5)
        wait_until(
            partial(have_run, tmp_path, {job.id for job in after}), "new ones run after it is set right"
        )
        open_gate(tmp_path)
        wait_until(partial(have_run, tmp_path, {job.id for job in running}), "what ran ends")
        assert workers.pids() == pids
        assert workers.stop() == 0
    app.close()
    assert marks(tmp_path, "dropped.txt") == {}
    assert effects(tmp_path) == {job.id: 1 for job in (*running, *during, *after)}
