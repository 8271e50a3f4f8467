"""User code that keeps a worker process from answering."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from backburner import Backburner, State
from tests.faults.harness import effects, node, open_gate, started, wait_until


def test_a_process_whose_event_loop_is_blocked_prints_its_stacks_and_is_replaced(
    app: Backburner, tmp_path: Path
) -> None:
    with node(tmp_path, "--unresponsive", "3") as workers:
        workers.wait_ready()
        [blocked] = workers.pids()
        job = app.enqueue("fault_tasks.hog")
        wait_until(lambda: started(tmp_path) == 1, "the job blocks the loop")
        wait_until(lambda: started(tmp_path) == 2, "the job runs in another process")
        open_gate(tmp_path)
        assert job.result(timeout=30) != blocked
        said = workers.said()
        assert workers.stop() == 0
    assert "has not answered for 3 s: replaced" in said
    assert "most recent call first" in said
    assert "in hog" in said
    assert (job.refresh().state, job.record.attempt, job.record.crashes) == (State.SUCCEEDED, 1, 1)
    assert effects(tmp_path) == {job.id: 1}


def test_the_death_of_a_process_is_noticed_while_one_that_it_forked_lives_on(
    app: Backburner, tmp_path: Path
) -> None:
    """The forked one keeps the socket to the supervisor open."""
    with node(tmp_path) as workers:
        workers.wait_ready()
        [pid] = workers.pids()
        job = app.enqueue("fault_tasks.leave_a_process_behind")
        wait_until(lambda: started(tmp_path) == 1, "the job has forked")
        try:
            os.kill(pid, signal.SIGKILL)
            assert job.result(timeout=30) != pid
            assert workers.stop() == 0
        finally:
            open_gate(tmp_path)


def test_a_process_whose_messages_make_no_sense_is_replaced(app: Backburner, tmp_path: Path) -> None:
    with node(tmp_path) as workers:
        workers.wait_ready()
        [confused] = workers.pids()
        assert app.enqueue("fault_tasks.babble").result(timeout=30) != confused
        assert "is replaced, for it talks nonsense" in workers.said()
        assert workers.stop() == 0


def test_code_that_holds_the_interpreter_for_longer_than_the_lease_keeps_it(
    app: Backburner, tmp_path: Path
) -> None:
    with node(tmp_path, settings={"lease": 2.0, "heartbeat": 0.5}) as workers:
        workers.wait_ready()
        [pid] = workers.pids()
        job = app.enqueue("fault_tasks.hold_the_interpreter", 4)
        assert job.result(timeout=30) == pid
        assert workers.stop() == 0
        assert "lost" not in workers.said()
    assert (job.record.attempt, job.record.crashes, job.history()) == (1, 0, [])
    assert effects(tmp_path) == {job.id: 1}
