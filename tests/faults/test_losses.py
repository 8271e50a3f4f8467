"""A supervisor, a whole node, or a worker process with processes of its own is killed."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import psutil

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

SHORT = {"lease": 3.0, "heartbeat": 0.5}
KINDS = ("gated", "gated_function", "gated_cpu")


def are_gone(processes: set[psutil.Process]) -> bool:
    return not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes)


def outcomes(app: Backburner) -> list[str]:
    """How each attempt that did not end its job ended, of every job."""
    jobs = [app.job(record.id) for record in stored(app)]
    return [attempt.outcome for job in jobs for attempt in job.history()]


def test_when_the_supervisor_is_killed_its_processes_end_and_hand_their_jobs_back(
    app: Backburner, tmp_path: Path
) -> None:
    for kind in KINDS:
        app.named(f"fault_tasks.{kind}").enqueue_many([("gate",)] * 2)
    with node(tmp_path, "--processes", "2", "--cpu-processes", "2") as killed:
        wait_until(lambda: started(tmp_path) == 6, "the jobs run")
        family = killed.family()
        killed.process.kill()
        wait_until(partial(are_gone, family), "nothing of the node is left")
        # Nobody waits for a lease of 30 s: who cannot be kept alive hands back what it has, and says so.
        assert {(job.state, job.attempt, job.crashes) for job in stored(app)} == {(State.QUEUED, 0, 0)}
        app.named("fault_tasks.quick").enqueue_many([(0.0,)] * 20)
        with node(tmp_path, "--drain", "--cpu-processes", "2") as other:
            wait_until(lambda: started(tmp_path) == 12, "another node runs them")
            open_gate(tmp_path)
            assert other.process.wait(45) == 0, other.said()
    assert set(effects(tmp_path).values()) == {1}
    assert len(effects(tmp_path)) == 26
    assert outcomes(app) == ["release"] * 6
    assert {job.state for job in stored(app)} == {State.SUCCEEDED}


def test_when_a_machine_is_lost_another_node_runs_its_jobs_after_the_lease(
    app: Backburner, tmp_path: Path
) -> None:
    jobs = [app.enqueue(f"fault_tasks.{kind}", "gate") for kind in KINDS]
    with node(tmp_path, settings=SHORT) as lost:
        wait_until(lambda: started(tmp_path) == 3, "the jobs run")
        lost.vanish()
        with node(tmp_path, settings=SHORT) as other:
            wait_until(lambda: started(tmp_path) == 6, "another node runs them")
            open_gate(tmp_path)
            wait_until(partial(is_everything_done, app), "the jobs are done")
            assert {ran_by(job) for job in jobs} == other.pids()
    assert {(job.state, job.record.attempt, job.record.crashes) for job in jobs} == {(State.SUCCEEDED, 1, 1)}
    assert outcomes(app) == ["crash"] * 3
    assert effects(tmp_path) == {job.id: 1 for job in jobs}


def test_when_the_fork_server_is_killed_the_node_ends_and_its_jobs_go_back_at_once(
    app: Backburner, tmp_path: Path
) -> None:
    job = app.enqueue("fault_tasks.gated", "gate")
    with node(tmp_path, "--processes", "2") as workers:
        wait_until(lambda: started(tmp_path) == 1, "the job runs")
        family = workers.family()
        workers.fork_server().kill()
        assert workers.process.wait(30) == 1
        assert "the fork server was killed" in workers.said()
        wait_until(partial(are_gone, family), "nothing of the node is left")
    assert (job.refresh().state, job.record.crashes) == (State.QUEUED, 1)


def test_a_worker_process_that_is_killed_takes_its_cpu_processes_with_it(
    app: Backburner, tmp_path: Path
) -> None:
    job = app.enqueue("fault_tasks.gated_cpu", "gate")
    with node(tmp_path) as workers:
        wait_until(lambda: started(tmp_path) == 1, "the job runs")
        [worker] = workers.children()
        family = {worker, *worker.children(recursive=True)}
        worker.kill()
        wait_until(lambda: started(tmp_path) == 2, "the job runs elsewhere")
        wait_until(partial(are_gone, family), "nothing of the killed process is left")
        open_gate(tmp_path)
        wait_until(partial(is_everything_done, app), "the job is done")
    assert (job.refresh().state, job.record.crashes) == (State.SUCCEEDED, 1)
    assert effects(tmp_path) == {job.id: 1}
