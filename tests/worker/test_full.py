"""Coroutines, threads and processes have slots of their own, and a worker says which of them are taken."""

from __future__ import annotations

from typing import Any

import pytest

from backburner import events
from tests.worker.helpers import KINDS, Pipe, Seen


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
