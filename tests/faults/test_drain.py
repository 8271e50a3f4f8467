"""`--drain`: the command ends when nothing is left to run."""

from __future__ import annotations

from pathlib import Path

from backburner import Backburner, State
from tests.faults.harness import effects, node


def test_a_drain_waits_for_what_is_due_later_and_leaves_other_queues_alone(
    app: Backburner, tmp_path: Path
) -> None:
    jobs = app.named("fault_tasks.quick").enqueue_many([(0.01,)] * 20)
    jobs.append(app.enqueue("fault_tasks.flaky"))
    jobs.append(app.named("fault_tasks.quick").using(delay=1).enqueue(0.0))
    dead = app.enqueue("fault_tasks.broken")
    other = app.named("fault_tasks.quick").using(queue="other").enqueue(0.0)
    with node(tmp_path, "--drain", "--queues", "default", "--processes", "2") as workers:
        assert workers.process.wait(45) == 0, workers.said()
    assert {job.refresh().state for job in jobs} == {State.SUCCEEDED}
    assert (dead.refresh().state, other.refresh().state) == (State.DEAD, State.QUEUED)
    assert effects(tmp_path) == {job.id: 1 for job in jobs}
    with node(tmp_path, "--drain", "--queues", "default") as idle:
        assert idle.process.wait(45) == 0, idle.said()
