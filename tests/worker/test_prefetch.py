"""How many jobs a worker takes: what it can run, and a little more where jobs are quick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

import pytest

from backburner import Backburner, Job, Task, current_job
from backburner.brokers.base import Claim, Exchange, Operation
from backburner.brokers.sqlite.broker import SqliteBroker
from backburner.lifecycle import Settlement
from backburner.worker import loop
from tests.worker.helpers import LONG, within


@pytest.fixture(params=["sqlite"])
def broker_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Counting(SqliteBroker):
    """Counts the exchanges, and remembers how many jobs each one brought."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.brought: list[int] = []

    def exchange(self, settlements: Sequence[Settlement], claim: Claim | None) -> Operation[Exchange]:
        exchange = yield from super().exchange(settlements, claim)
        self.brought.append(len(exchange.jobs))
        return exchange


@pytest.fixture
def counting(app: Backburner) -> Counting:
    app.broker = broker = Counting(app.settings.url)
    return broker


class Hold:
    """A task whose jobs begin, and go on when the test says so."""

    def __init__(self, app: Backburner) -> None:
        self.release = asyncio.Event()
        self.begun: list[str] = []
        self.changed = asyncio.Event()
        self.task: Task[[], str] = app.task(name="hold")(self.hold)

    async def hold(self) -> str:
        self.begun.append(current_job().id)
        self.changed.set()
        await self.release.wait()
        return current_job().id

    async def wait(self, count: int) -> None:
        while len(self.begun) < count:
            self.changed.clear()
            await within(self.changed)


async def test_quick_jobs_are_taken_many_at_a_time(app: Backburner, counting: Counting) -> None:
    done = asyncio.Event()
    left = 2000

    @app.task
    async def quick() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    quick.enqueue_many([()] * left)
    async with app.worker(concurrency=10) as embedded:
        await within(done)
        await embedded.drained()
    full = [count for count in counting.brought if count]
    assert sum(full) == 2000
    assert len(full) / 2000 <= 0.05, full
    assert max(full) > 10, "more than there are slots"


async def test_quick_functions_are_taken_ahead_as_well(app: Backburner, counting: Counting) -> None:
    @app.task
    def quick() -> None: ...

    quick.enqueue_many([()] * 1000)
    async with app.worker(threads=2) as embedded:
        await embedded.drained()
    full = [count for count in counting.brought if count]
    assert sum(full) == 1000
    assert len(full) / 1000 <= 0.1, full


async def test_long_jobs_are_left_to_whoever_has_room(make_app: Callable[..., Backburner]) -> None:
    busy, free = make_app(), make_app()
    here, there = Hold(busy), Hold(free)
    jobs = here.task.enqueue_many([()] * 10)
    async with busy.worker(concurrency=2):
        await here.wait(2)
        async with free.worker(concurrency=20):
            await there.wait(8)
            assert len(here.begun) == 2
            here.release.set()
            there.release.set()
            for job in jobs:
                assert await job.aresult(timeout=LONG) == job.id
    assert {job.record.token for job in jobs} == {1}, "none was taken and given back"


async def test_jobs_that_were_quick_and_become_long_are_handed_back(
    make_app: Callable[..., Backburner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "HOLD", 0.2)
    one, two = make_app(), make_app()
    here, there = Hold(one), Hold(two)
    here.release.set()
    warm = here.task.enqueue_many([()] * 300)
    async with one.worker(concurrency=2) as embedded:
        for job in warm:
            await job.aresult(timeout=LONG)
        here.release.clear()
        here.begun.clear()
        jobs = here.task.enqueue_many([()] * 20)
        await here.wait(2)
        async with two.worker(concurrency=100):
            await there.wait(18)
            assert len(embedded.worker.running) == 2
            here.release.set()
            there.release.set()
            for job in jobs:
                await job.aresult(timeout=LONG)
    assert {job.record.attempt for job in jobs} == {1}


@pytest.fixture
def blocked() -> Iterator[Future[None]]:
    """Blocks a thread until the test is over, at the latest."""
    future: Future[None] = Future()
    yield future
    future.cancel()


async def test_what_has_not_started_when_the_worker_stops_goes_back_without_an_attempt(
    app: Backburner, blocked: Future[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "HOLD", LONG)  # nor before it stops
    begun, running = asyncio.Event(), asyncio.get_running_loop()

    @app.task
    def function() -> None:
        running.call_soon_threadsafe(begun.set)
        blocked.result(LONG)

    @app.task
    async def other() -> None: ...

    first: Job[None] = function.enqueue()
    second: Job[None] = function.enqueue()
    async with app.worker(threads=1) as embedded:
        await within(begun)
        assert second.refresh().state == "running", "claimed, that is: the worker cannot know what comes"
        embedded.worker.stop(LONG)
        blocked.set_result(None)
        await first.aresult(timeout=LONG)
    record = second.refresh().record
    assert (record.state, record.attempt, record.token, second.history()) == ("queued", 0, 1, [])


async def test_jobs_of_a_kind_without_room_do_not_block_the_others(
    app: Backburner, blocked: Future[None]
) -> None:
    begun, running = asyncio.Event(), asyncio.get_running_loop()

    @app.task
    def function() -> None:
        running.call_soon_threadsafe(begun.set)
        blocked.result(LONG)

    @app.task
    async def coroutine() -> int:
        return 1

    function.enqueue_many([()] * 20)
    behind = coroutine.enqueue()
    async with app.worker(threads=1):
        await within(begun)
        assert await behind.aresult(timeout=LONG) == 1
        blocked.set_result(None)
