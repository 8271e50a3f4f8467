"""A job takes all memory that there is."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import psutil

from backburner import Backburner, State
from tests.faults.harness import effects, is_everything_done, node, open_gate, wait_until
from tests.servers.cgroup import memory_limit

MB = 1024 * 1024


def test_a_job_that_makes_the_kernel_kill_its_process_is_a_poison_pill_and_others_are_not(
    app: Backburner, tmp_path: Path
) -> None:
    with node(tmp_path) as workers:
        workers.wait_ready()
        with memory_limit("poison", 300 * MB, workers.fork_server().pid):
            # The worker process that there is was forked before the limit: it goes, and the next has it.
            [first] = workers.children()
            first.kill()
            workers.wait_ready(2)
            others = app.named("fault_tasks.quick").enqueue_many([(0.2,)] * 50)
            hoard = app.enqueue("fault_tasks.hoard", 2_000)
            others += app.named("fault_tasks.quick").enqueue_many([(0.2,)] * 50)
            wait_until(partial(is_everything_done, app), "all is done")
        assert workers.stop() == 0
    assert hoard.refresh().state is State.DEAD
    assert "poison pill" in (hoard.record.reason or "")
    assert [attempt.outcome for attempt in hoard.history()] == ["crash", "crash", "poison"]
    assert {other.refresh().state for other in others} == {State.SUCCEEDED}
    assert {other.id for other in others} == effects(tmp_path).keys()


def test_a_job_for_which_there_is_no_memory_fails_and_its_process_goes_on(
    app: Backburner, tmp_path: Path
) -> None:
    with node(tmp_path) as workers:
        workers.wait_ready()
        [child] = workers.children()
        size = child.memory_info().vms + 200 * MB
        child.rlimit(psutil.RLIMIT_AS, (size, size))
        hoard = app.enqueue("fault_tasks.hoard", 1_000)
        wait_until(lambda: hoard.refresh().state is State.RETRYING, "the job has failed")
        assert app.enqueue("fault_tasks.gated_function", "here").id
        open_gate(tmp_path, "here")
        wait_until(lambda: effects(tmp_path).total() == 1, "another one runs")
        assert workers.pids() == {child.pid}
        assert workers.stop() == 0
    assert "MemoryError" in str(hoard.history()[0])
