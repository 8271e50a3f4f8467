"""Leaving `async with app.worker()`: what runs may end, what cannot is handed back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from backburner import Backburner, Job, Snooze, current_job, events
from tests.worker.helpers import KINDS, LONG, Pipe, Seen, within


@pytest.mark.parametrize("kind", KINDS)
async def test_a_running_job_may_end_within_the_grace_time_and_no_other_begins(
    kinds: Any, pipe: Pipe, answer: Pipe, kind: str
) -> None:
    task = kinds.app.tasks[f"{kind}.linger"]
    job: Job[str] = task.enqueue(pipe.path, answer.path)
    worker: AbstractAsyncContextManager[Any] = kinds.app.worker(grace=LONG, cpu_processes=1)
    await worker.__aenter__()
    assert await pipe.read() == "begun"
    leaving = asyncio.create_task(worker.__aexit__(None, None, None))
    later: Job[str] = await task.aenqueue(pipe.path, answer.path)
    assert (job.refresh().state, leaving.done()) == ("running", False)
    answer.write("the end")
    await asyncio.wait_for(leaving, LONG)
    assert job.refresh().result() == "the end"
    # A claim that was under way may have met it: then it was given back.
    assert (later.refresh().state, later.record.attempt) == ("queued", 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_runs_beyond_it_is_interrupted_and_goes_back_without_an_attempt(
    kinds: Any, pipe: Pipe, kind: str
) -> None:
    seen = Seen(kinds.app)
    job: Job[None] = kinds.app.tasks[f"{kind}.spin"].enqueue(pipe.path)
    async with kinds.app.worker(grace=0.5, cpu_processes=1):
        assert await pipe.read() == "begun"
    record = job.refresh().record
    assert (record.state, record.attempt, record.token) == ("queued", 0, 1)
    assert [(line.outcome, line.message) for line in job.history()] == [
        ("release", "interrupted: its worker stopped")
    ]
    assert [event.job.id for event in seen.of(events.Released)] == [job.id]
    assert seen.of(events.StuckThread) == []


async def test_the_next_worker_runs_what_was_handed_back(make_app: Callable[..., Backburner]) -> None:
    begun = asyncio.Event()

    def process(wait: bool) -> Backburner:
        app = make_app()

        @app.task(name="work")
        async def work() -> tuple[int, int]:
            begun.set()
            if wait:
                await asyncio.Event().wait()
            return current_job().attempt, current_job().token

        return app

    old, new = process(wait=True), process(wait=False)
    job = old.tasks["work"].enqueue()
    async with old.worker(grace=0.0):
        await within(begun)
    async with new.worker():
        assert await job.aresult(timeout=LONG) == (1, 2)


async def test_what_is_interrupted_may_put_itself_off(app: Backburner) -> None:
    begun = asyncio.Event()

    @app.task
    async def patient() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert current_job().stop_reason == "shutdown"
            await current_job().asave({"row": 41})
            raise Snooze(3600, "see you") from None

    job = patient.enqueue()
    async with app.worker(grace=1.5):  # a fifth of it is left to unwind
        await within(begun)
    record = job.refresh().record
    assert (record.state, record.attempt, record.reason, record.checkpoint) == (
        "scheduled",
        0,
        "see you",
        b'{"row":41}',
    )


async def test_a_coroutine_that_does_not_stop_does_not_hold_the_program_up(app: Backburner) -> None:
    begun, release, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @app.task
    async def stubborn() -> None:
        begun.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        ended.set()

    seen = Seen(app)
    job = stubborn.enqueue()
    async with app.worker(grace=0.1):
        await within(begun)
    assert job.refresh().state == "queued"
    release.set()
    await within(ended)
    assert (job.refresh().state, seen.of(events.Succeeded)) == ("queued", []), "it is no longer its own"


async def test_an_error_in_the_program_stops_the_worker_like_its_end_does(app: Backburner) -> None:
    @app.task
    async def work() -> int:
        return 1

    async def program() -> None:
        async with app.worker():
            await work.enqueue().aresult(timeout=LONG)
            raise OSError("the program's own")

    with pytest.raises(OSError, match="the program's own"):
        await program()
    assert app.inspector.workers() == []
    async with app.worker():
        assert await work.enqueue().aresult(timeout=LONG) == 1
        [worker] = app.inspector.workers()
        assert worker.beat.tasks == (work.name,)
    assert app.inspector.workers() == [], "nobody takes it for dead later on"
