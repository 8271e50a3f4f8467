"""`Job.cancel` of a job that a worker has, and what the job makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from backburner import Backburner, Job, JobCancelled, Snooze, current_job, events
from backburner.worker import loop as worker_loop
from tests.worker.helpers import KINDS, LONG, Pipe, Seen, ended, within

ONE_SLOT = {"concurrency": 1, "threads": 1, "cpu_processes": 1}
RARE = {"lease": 200, "heartbeat": 100}
"""Settings for a heartbeat so rare that a request to stop comes by its wake-up or not at all."""


@pytest.mark.parametrize("kind", KINDS)
async def test_a_running_job_is_stopped_and_its_slot_is_free_again(kinds: Any, pipe: Pipe, kind: str) -> None:
    seen = Seen(kinds.app)
    job: Job[None] = kinds.app.tasks[f"{kind}.spin"].enqueue(pipe.path)
    async with kinds.app.worker(**ONE_SLOT):
        assert await pipe.read() == "begun"
        assert await job.acancel("the customer withdrew")
        with pytest.raises(JobCancelled, match="the customer withdrew"):
            await job.aresult(timeout=LONG)
        [event] = await seen.wait(events.Cancelled)
        assert (event.job.id, event.reason) == (job.id, "the customer withdrew")
        assert not await job.acancel(), "it is final by now"
        another = await kinds.app.tasks[f"{kind}.add"].aenqueue(1, 2)
        assert await another.aresult(timeout=LONG) == 3
    assert [line.outcome for line in job.history()] == ["cancel"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_job_can_be_stopped_at_the_very_moment_it_begins(kinds: Any, pipe: Pipe, kind: str) -> None:
    loop, seen = asyncio.get_running_loop(), Seen(kinds.app)
    async with kinds.app.worker(**ONE_SLOT) as embedded:
        kinds.app.on(events.Started)(
            lambda event: loop.call_soon(embedded.worker.cancel, {event.job.id: "no"})
        )
        job: Job[None] = await kinds.app.tasks[f"{kind}.spin"].aenqueue(pipe.path)
        assert (await ended(job)).state == "cancelled"
    assert seen.of(events.StuckThread) == []


async def test_a_job_that_waits_in_the_worker_is_cancelled_without_being_started(
    make_app: Callable[..., Backburner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_loop, "HOLD", LONG)  # it does not go back before the test has looked
    app = make_app(**RARE)
    begun, release = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    @app.task
    def busy() -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(LONG)

    @app.task
    def never() -> None:
        raise AssertionError

    @app.task
    async def other() -> None: ...

    first, second = busy.enqueue(), never.enqueue()
    async with app.worker(threads=1):
        await within(begun)
        assert second.refresh().state == "running", "the worker has claimed both"
        await second.acancel()
        record = await ended(second)
        assert first.refresh().state == "running"
        release.set()
        await ended(first)
    assert (record.state, record.finished_at is not None) == ("cancelled", True)


async def test_a_coroutine_that_goes_on_regardless_keeps_its_slot_and_its_result(
    make_app: Callable[..., Backburner],
) -> None:
    app = make_app(**RARE)
    begun, refused, release = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @app.task
    async def stubborn() -> str | None:
        try:
            begun.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            refused.set()
            await release.wait()
        return current_job().stop_reason

    @app.task
    async def quick() -> None: ...

    job = stubborn.enqueue()
    async with app.worker(concurrency=2):
        await within(begun)
        await job.acancel()
        await within(refused)
        await quick.enqueue().aresult(timeout=LONG)
        assert job.refresh().state == "running"
        release.set()
        assert await job.aresult(timeout=LONG) == "cancelled"


async def test_a_job_that_fails_over_being_cancelled_is_not_run_again(
    make_app: Callable[..., Backburner],
) -> None:
    app = make_app(**RARE)
    begun = asyncio.Event()
    attempts: list[int] = []

    @app.task
    async def clumsy() -> None:
        attempts.append(current_job().attempt)
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            raise OSError("cannot clean up")

    job = clumsy.enqueue()
    async with app.worker():
        await within(begun)
        await job.acancel("no longer needed")
        record = await ended(job)
    assert (record.state, record.reason, attempts) == ("cancelled", "no longer needed", [1])
    assert [line.outcome for line in job.history()] == ["retry", "cancel"]


async def test_a_job_that_asks_for_later_instead_is_cancelled_then_for_the_reason_given(
    app: Backburner,
) -> None:
    begun = asyncio.Event()

    @app.task
    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise Snooze(0, "not now") from None

    job = work.enqueue()
    async with app.worker():
        await within(begun)
        await job.acancel("the customer withdrew")
        record = await ended(job)
    assert (record.state, record.reason) == ("cancelled", "the customer withdrew")
