"""Queues under a running worker: paused ones, and full ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from backburner import Backburner, JobCancelled, QueueFull, Task, events
from tests.worker.helpers import LONG, Seen, within

Busy = tuple[Task[[], None], asyncio.Event, asyncio.Event]


@pytest.fixture
def busy(app: Backburner) -> Busy:
    """A task that holds the worker's only slot until it is released."""
    begun, release = asyncio.Event(), asyncio.Event()

    @app.task(queue="busy")
    async def hold() -> None:
        begun.set()
        await release.wait()

    return hold, begun, release


async def test_a_paused_queue_waits_and_the_others_go_on(app: Backburner) -> None:
    @app.task(queue="mail")
    async def send() -> str:
        return "sent"

    @app.task
    async def work() -> str:
        return "done"

    inspector = app.inspector
    async with app.worker():
        await asyncio.to_thread(inspector.pause_queue, "mail")
        mail = await send.aenqueue()
        for _ in range(3):
            assert await work.enqueue().aresult(timeout=LONG) == "done"
        assert mail.refresh().state == "queued"
        await asyncio.to_thread(inspector.resume_queue, "mail")
        assert await mail.aresult(timeout=LONG) == "sent"


async def test_pausing_a_queue_lets_its_running_job_end(app: Backburner, busy: Busy) -> None:
    hold, begun, release = busy
    job = hold.enqueue()
    async with app.worker():
        await within(begun)
        app.inspector.pause_queue("busy")
        release.set()
        await job.aresult(timeout=LONG)


async def test_a_full_queue_refuses_what_it_cannot_hold_until_there_is_room(
    app: Backburner, busy: Busy
) -> None:
    app.queue("small", max_length=2)

    @app.task(queue="small")
    async def work(number: int) -> int:
        return number

    hold, begun, release = busy
    seen = Seen(app)
    async with app.worker(concurrency=1):
        hold.enqueue()
        await within(begun)
        first = work.enqueue(1)
        with pytest.raises(QueueFull) as full:
            work.enqueue_many([(2,), (3,)])
        assert (full.value.queue, full.value.depth, full.value.max_length) == ("small", 1, 2)
        assert full.value.retry_after > 0
        second = work.enqueue(4)
        with pytest.raises(QueueFull):
            await work.aenqueue(5)
        release.set()
        assert [await job.aresult(timeout=LONG) for job in (first, second)] == [1, 4]
        assert await work.enqueue(6).aresult(timeout=LONG) == 6
    assert [event.queue for event in seen.of(events.QueueFilled)] == ["small", "small"]
    assert len(app.inspector.jobs()) == 4, "nothing of what was refused is stored"


async def test_an_enqueue_into_a_queue_that_blocks_goes_on_when_there_is_room(
    app: Backburner, busy: Busy
) -> None:
    app.queue("small", max_length=1, on_full="block")

    @app.task(queue="small")
    async def work(number: int) -> int:
        return number

    hold, begun, release = busy
    seen = Seen(app)
    async with app.worker(concurrency=1):
        hold.enqueue()
        await within(begun)
        work.enqueue(1)
        waiting = asyncio.gather(
            work.aenqueue_many([(2,), (3,)]), asyncio.to_thread(work.enqueue_many, [(4,), (5,)])
        )
        await seen.wait(events.QueueFilled, 2)
        assert not waiting.done()
        release.set()
        async with asyncio.timeout(LONG):
            some, others = await waiting
        assert [await job.aresult(timeout=LONG) for job in some + others] == [2, 3, 4, 5]


async def test_patience_with_a_full_queue_may_end(app: Backburner) -> None:
    app.queue("small", max_length=1, on_full="block", timeout=0.05)
    work: Task[[], None] = app.task(name="work", queue="small")(lambda: None)
    work.enqueue()
    with pytest.raises(QueueFull):
        work.enqueue()
    with pytest.raises(QueueFull):
        await work.aenqueue()


async def test_a_queue_may_drop_its_oldest_job_instead(app: Backburner, busy: Busy) -> None:
    app.queue("small", max_length=2, on_full="drop_oldest")

    @app.task(queue="small")
    async def work(number: int) -> int:
        return number

    hold, begun, release = busy
    async with app.worker(concurrency=1):
        hold.enqueue()
        await within(begun)
        jobs = [work.enqueue(number) for number in range(4)]
        for job in jobs[:2]:
            with pytest.raises(JobCancelled, match="dropped: its queue was full"):
                await job.aresult(timeout=LONG)
        release.set()
        assert [await job.aresult(timeout=LONG) for job in jobs[2:]] == [2, 3]


async def test_a_worker_stores_the_bounds_so_that_an_operator_sees_them(
    make_app: Callable[..., Backburner],
) -> None:
    app = make_app()
    app.queue("small", max_length=2, on_full="drop_oldest")
    async with app.worker():
        pass
    [info] = [info for info in make_app().inspector.queues() if info.name == "small"]
    assert (info.max_length, info.on_full) == (2, "drop_oldest")
