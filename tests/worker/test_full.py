"""Coroutines, threads and processes have slots of their own, and a worker says which of them are taken."""

from __future__ import annotations

from typing import Any

import pytest

from backburner import events
from tests.worker.helpers import KINDS, LONG, Pipe, Seen


@pytest.mark.parametrize("kind", KINDS)
async def test_a_worker_names_the_tasks_that_it_has_no_slot_for(
    kinds: Any, pipe: Pipe, answer: Pipe, kind: str
) -> None:
    app, seen = kinds.app, Seen(kinds.app)
    app.tasks[f"{kind}.linger"].enqueue(pipe.path, answer.path)
    async with app.worker(concurrency=1, threads=1, cpu_processes=1) as embedded:
        assert await pipe.read() == "begun"
        full = embedded.worker.full
        answer.write("the end")
        await seen.wait(events.Succeeded)
        assert embedded.worker.full == ()
    assert full == tuple(task.name for task in app.tasks.values() if task.kind == kind)


async def test_a_full_kind_does_not_hold_up_the_others(kinds: Any, pipe: Pipe, answer: Pipe) -> None:
    linger, add = kinds.app.tasks["thread.linger"], kinds.app.tasks["coroutine.add"]
    linger.enqueue(pipe.path, answer.path)
    async with kinds.app.worker(threads=1):
        assert await pipe.read() == "begun"
        linger.enqueue(pipe.path, answer.path)  # waits, and has the worker look past it
        try:
            for number in range(3):
                job = await add.aenqueue(number, 1)
                assert await job.aresult(timeout=LONG) == number + 1
        finally:
            answer.write("the end")
            answer.write("the end")
