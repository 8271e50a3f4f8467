"""`cpu=True` tasks: the processes that run them."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any

import psutil

from backburner import Backburner, Job, events
from tests.worker.helpers import LONG, Pipe, Seen, ended


async def test_a_process_is_kept_for_the_next_job(kinds: Any) -> None:
    async with kinds.app.worker(cpu_processes=1):
        pids = [await kinds.process_whoami.enqueue().aresult(timeout=LONG) for _ in range(3)]
    assert len(set(pids)) == 1
    assert not psutil.pid_exists(pids[0]), "it ends with its worker"


async def test_a_process_stuck_in_a_loop_is_killed_and_replaced(kinds: Any, pipe: Pipe) -> None:
    async with kinds.app.worker(cpu_processes=1):
        pid = await kinds.process_whoami.enqueue().aresult(timeout=LONG)
        job: Job[None] = await kinds.process_spin.aenqueue(pipe.path)
        assert await pipe.read() == "begun"
        await job.acancel()
        assert (await ended(job)).state == "cancelled"
        assert not psutil.pid_exists(pid)
        assert await kinds.process_whoami.enqueue().aresult(timeout=LONG) != pid


async def test_a_job_that_kills_its_process_is_a_poison_pill_and_hurts_nobody_else(
    kinds: Any, pipe: Pipe, answer: Pipe
) -> None:
    seen = Seen(kinds.app)
    async with kinds.app.worker(cpu_processes=2):
        neighbour: Job[str] = await kinds.process_linger.aenqueue(pipe.path, answer.path)
        assert await pipe.read() == "begun"
        job: Job[None] = await kinds.process_kill.aenqueue()
        record = await ended(job)
        answer.write("well")
        assert await neighbour.aresult(timeout=LONG) == "well"
    assert (record.state, record.crashes) == ("dead", 3)
    assert record.reason == "poison pill: its worker died 3 times while it ran"
    assert [(line.attempt, line.outcome) for line in job.history()] == [
        (1, "crash"),
        (1, "crash"),
        (1, "poison"),
    ]
    assert seen.names(events.Rescued, events.Died) == ["Rescued", "Rescued", "Died"]
    assert (neighbour.record.crashes, neighbour.history()) == (0, [])


async def test_the_death_of_an_idle_process_is_held_against_no_job(kinds: Any) -> None:
    async with kinds.app.worker(cpu_processes=1):
        pid = await kinds.process_whoami.enqueue().aresult(timeout=LONG)
        os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):  # noticed by the loop already
            await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        job: Job[int] = await kinds.process_whoami.aenqueue()
        assert await job.aresult(timeout=LONG) != pid
    assert (job.record.crashes, job.history()) == (0, [])


async def test_a_task_that_another_process_cannot_import_is_dead_with_the_way_out(app: Backburner) -> None:
    @app.task(cpu=True)
    def nested() -> None: ...

    job = nested.enqueue()
    async with app.worker(cpu_processes=1):
        record = await ended(job)
    assert (record.state, record.attempt) == ("dead", 1)
    assert "cannot be loaded" in (record.reason or "")


async def test_a_job_whose_meta_holds_a_very_large_number(kinds: Any) -> None:
    job = kinds.process_add.using(meta={"large": 2**70}).enqueue(1, 2)
    async with kinds.app.worker(cpu_processes=1):
        assert await job.aresult(timeout=LONG) == 3
