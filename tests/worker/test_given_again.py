"""A job that comes to a worker once more while an earlier claim of it is still in hand there.

The model checker found the ways to this (docs/decisions/0040-model-checking.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import pytest

from backburner import Backburner, current_job, events
from backburner.brokers.base import Beat, Directives, Exchange, Operation
from backburner.brokers.sqlite.broker import SqliteBroker
from backburner.errors import BrokerUnavailable
from backburner.worker.embedded import EmbeddedWorker
from tests.worker.helpers import LONG, Seen, ended, within
from tests.worker.test_zombie import expire, hear_nothing

T = TypeVar("T")


@pytest.fixture(params=["sqlite"])
def broker_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class HoldsBack(SqliteBroker):
    """The answer of the first exchange that brings jobs arrives when the test lets it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.claimed, self.arrives = asyncio.Event(), asyncio.Event()

    async def arun(self, operation: Operation[T]) -> T:
        answer = await super().arun(operation)
        if isinstance(answer, Exchange) and answer.jobs and not self.claimed.is_set():
            self.claimed.set()
            await self.arrives.wait()
        return answer


class Work:
    """A job that runs until the test lets it end."""

    def __init__(self, app: Backburner) -> None:
        self.begun = asyncio.Queue[int]()
        self.release = asyncio.Event()
        self.lost: list[int] = []
        self.task = app.task(name="work")(self.work)

    async def work(self) -> int:
        job = current_job()
        self.begun.put_nowait(job.token)
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.lost.append(job.token)
            raise
        return job.token

    async def next(self) -> int:
        async with asyncio.timeout(LONG):
            return await self.begun.get()


async def renewed(embedded: EmbeddedWorker) -> None:
    """Until it has learned that its lease was lost, and has a new name."""
    name = embedded.worker.id
    embedded.maintenance.nudge(embedded.maintenance.heartbeat)
    async with asyncio.timeout(LONG):
        while embedded.worker.id == name:  # noqa: ASYNC110 - a new name sends no signal
            await asyncio.sleep(0.01)


async def test_jobs_that_were_given_to_its_earlier_name_are_left_to_their_rescue(
    make_app: Callable[..., Backburner],
) -> None:
    app = make_app(lease=200, heartbeat=100)
    broker = app.broker = HoldsBack(app.settings.url)
    work = Work(app)
    job = work.task.enqueue()
    async with app.worker(concurrency=2) as embedded:
        await within(broker.claimed)
        expire(app, embedded)
        app.broker.run(app.broker.rescue(1, 3))
        await renewed(embedded)
        broker.arrives.set()
        assert await work.next() == 2
        work.release.set()
        assert await job.aresult(timeout=LONG) == 2
    assert (work.begun.empty(), work.lost) == (True, [])


async def test_the_earlier_attempt_is_stopped_and_the_later_one_counts(
    make_app: Callable[..., Backburner],
) -> None:
    app = make_app(lease=200, heartbeat=100)
    work = Work(app)
    app.task(name="wake")(lambda: None)
    job = work.task.enqueue()
    async with app.worker(concurrency=2) as embedded:
        assert await work.next() == 1
        expire(app, embedded)
        app.broker.run(app.broker.rescue(1, 3))
        # Its first heartbeat, once more: it was sent twice, and the server carries one of them out only now.
        app.broker.run(app.broker.heartbeat([Beat(worker=embedded.worker.id, lease=200.0, new=True)]))
        app.tasks["wake"].enqueue()
        assert await work.next() == 2
        work.release.set()
        assert await job.aresult(timeout=LONG) == 2
    assert work.lost == [1]


async def test_of_two_claims_that_end_in_one_exchange_the_earlier_one_was_lost(
    make_app: Callable[..., Backburner],
) -> None:
    app = make_app(lease=200, heartbeat=100)
    broker = app.broker = HoldsBack(app.settings.url)
    work, seen = Work(app), Seen(app)
    app.task(name="wake")(lambda: None)
    broker.arrives.set()
    job = work.task.enqueue()
    async with app.worker(concurrency=2) as embedded:
        assert await work.next() == 1
        embedded.maintenance.heartbeat.perform = hear_nothing
        job.cancel("enough")  # it goes back with that, and the second claim ends where it is taken
        expire(app, embedded)
        app.broker.run(app.broker.rescue(1, 3))
        app.broker.run(app.broker.heartbeat([Beat(worker=embedded.worker.id, lease=200.0, new=True)]))
        broker.claimed.clear()
        broker.arrives.clear()
        app.tasks["wake"].enqueue()
        await within(broker.claimed)
        work.release.set()
        while job.id in embedded.worker.running:  # noqa: ASYNC110 - that it ended sends no signal
            await asyncio.sleep(0)
        broker.arrives.set()
        assert (await ended(job)).state == "cancelled"
        await seen.wait(events.LostLease)
    told = [each for each in seen.events if isinstance(each, events.LostLease | events.Cancelled)]
    assert [(type(each), each.job.token) for each in told] == [(events.LostLease, 1), (events.Cancelled, 2)]


class HoldsBackABeat(SqliteBroker):
    """A first heartbeat is held back in the network, and arrives when the test says so."""

    lossy = False
    beat: Beat | None = None

    def heartbeat(self, beats: Sequence[Beat]) -> Operation[Directives]:
        directives = yield from super().heartbeat(beats)
        if beats[0].new and self.lossy:
            self.lossy, self.beat = False, beats[0]
            raise BrokerUnavailable("the connection broke before the answer came")
        return directives

    def arrives_late(self) -> None:
        assert self.beat is not None
        self.run(super().heartbeat([self.beat]))


async def test_a_first_heartbeat_that_arrives_late_brings_no_lease_back(
    make_app: Callable[..., Backburner],
) -> None:
    app = make_app(lease=200, heartbeat=100)
    broker = app.broker = HoldsBackABeat(app.settings.url)
    work = Work(app)
    async with app.worker(concurrency=1) as embedded:
        broker.lossy = True
        expire(app, embedded)
        await renewed(embedded)
        job = work.task.enqueue()
        assert await work.next() == 1
        expire(app, embedded)
        app.broker.run(app.broker.rescue(1, 3))
        broker.arrives_late()
        await renewed(embedded)
        assert await work.next() == 2
        work.release.set()
        assert await job.aresult(timeout=LONG) == 2
    assert work.lost == [1]
