"""Worker processes that are replaced after their share of jobs, or when they hold too much memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from backburner import Backburner, State
from tests.faults.harness import (
    effects,
    is_everything_done,
    node,
    open_gate,
    ran_by,
    started,
    stored,
    wait_until,
)


def test_a_process_that_has_had_its_share_works_until_its_successor_does_and_then_ends_its_jobs(
    app: Backburner, tmp_path: Path
) -> None:
    lasting = app.enqueue("fault_tasks.gated")
    with node(tmp_path, "--max-jobs", "50") as workers:
        wait_until(lambda: started(tmp_path) == 1, "the job runs")
        [old] = workers.pids()
        first = app.named("fault_tasks.quick").enqueue_many([(0.0,)] * 50)
        workers.wait_said("it has run 50 jobs")
        workers.wait_ready(2)
        [new] = workers.pids() - {old}
        later = app.enqueue("fault_tasks.quick", 0.0)
        later.result(timeout=30)
        assert {ran_by(job) for job in first} == {old}
        assert ran_by(later) == new
        assert lasting.refresh().state is State.RUNNING
        open_gate(tmp_path)
        assert lasting.result(timeout=30) == old
        wait_until(lambda: workers.pids() == {new}, "the old process ends")
        assert workers.stop() == 0
    assert {(job.state, job.attempt, job.crashes) for job in stored(app)} == {(State.SUCCEEDED, 1, 0)}
    assert set(effects(tmp_path).values()) == {1}


def test_a_process_that_leaks_is_replaced_before_the_machine_is_out_of_memory(
    app: Backburner, tmp_path: Path
) -> None:
    with node(tmp_path, "--max-memory", "150", "--processes", "2") as workers:
        workers.wait_ready(2)
        pids = workers.pids()
        leaky = app.enqueue("fault_tasks.hoard", 150).result(timeout=30)
        workers.wait_ready(3)
        wait_until(lambda: leaky not in workers.pids(), "the leaky one ends")
        assert len(workers.pids()) == 2
        assert workers.pids() & pids == pids - {leaky}
        assert workers.stop() == 0
    assert set(effects(tmp_path).values()) == {1}


def test_a_process_that_dies_before_its_successor_works_is_replaced_once(
    app: Backburner, tmp_path: Path
) -> None:
    job = app.enqueue("fault_tasks.gated")
    with node(tmp_path, "--max-jobs", "1") as workers:
        wait_until(lambda: started(tmp_path) == 1, "the job runs")
        [old] = workers.children()
        app.enqueue("fault_tasks.quick", 0.0)
        workers.wait_said("it has run 1 jobs")
        old.kill()
        wait_until(lambda: started(tmp_path) == 2, "the job runs in the successor")
        assert workers.pids() == {ran_by(job)}
        open_gate(tmp_path)
        wait_until(partial(is_everything_done, app), "the jobs are done")
        assert workers.stop() == 0
