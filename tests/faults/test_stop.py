"""Workers that are told to stop."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from backburner import Backburner, State
from tests.faults.harness import effects, node, started, stored, wait_until

GRACE = 6.0


@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("seconds", [1.0, 3600.0], ids=["that end in time", "that do not"])
def test_a_stop_during_1000_running_jobs_loses_none_and_burns_no_attempt(
    app: Backburner, tmp_path: Path, seconds: float
) -> None:
    app.named("fault_tasks.long").enqueue_many([(seconds,)] * 960)
    app.named("fault_tasks.long_function").enqueue_many([(seconds,)] * 38)
    app.named("fault_tasks.long_cpu").enqueue_many([(seconds,)] * 2)
    options = ("--concurrency", "1000", "--threads", "40", "--cpu-processes", "2", "--grace", str(GRACE))
    with node(tmp_path, *options) as workers:
        wait_until(lambda: started(tmp_path) == 1000, "1,000 jobs run")
        began = time.monotonic()
        code = workers.stop()
        took = time.monotonic() - began
        assert code == 0, workers.said()
        assert "Traceback" not in workers.said()
    print(f"1,000 jobs of {seconds:g} s: stopped in {took:.2f} s of {GRACE:g} s grace")
    jobs = stored(app)
    assert len(jobs) == 1000
    if seconds < GRACE:
        assert {(job.state, job.attempt) for job in jobs} == {(State.SUCCEEDED, 1)}
        assert len(effects(tmp_path)) == 1000
    else:
        assert {(job.state, job.attempt) for job in jobs} == {(State.QUEUED, 0)}
        assert not effects(tmp_path)
        assert app.broker.run(app.broker.workers()) == []


@pytest.mark.xdist_group("heavy")
def test_a_second_signal_releases_what_runs_at_once(app: Backburner, tmp_path: Path) -> None:
    jobs = app.named("fault_tasks.long").enqueue_many([(3600.0,)] * 20)
    with node(tmp_path, "--grace", "3600") as workers:
        wait_until(lambda: started(tmp_path) == 20, "the jobs run")
        workers.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in workers.said(), "the first signal is heard")
        assert workers.stop() == 0
    assert {(job.refresh().state, job.record.attempt) for job in jobs} == {(State.QUEUED, 0)}


def test_a_stop_does_not_wait_for_a_thread_that_a_coroutine_has_left_behind(
    app: Backburner, tmp_path: Path
) -> None:
    job = app.enqueue("fault_tasks.sleep_in_a_thread", 3600.0)
    with node(tmp_path, "--grace", "0.5") as workers:
        wait_until(lambda: started(tmp_path) == 1, "the job runs")
        assert workers.stop() == 0
        assert "is killed" not in workers.said()
    assert (job.refresh().state, job.record.attempt, job.record.crashes) == (State.QUEUED, 0, 0)
