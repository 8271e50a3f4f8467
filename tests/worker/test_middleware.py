"""Middleware around the attempts of a worker, in every kind of executor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from backburner import Backburner, Job, Middleware, Retry, events
from backburner.context import CurrentJob
from tests.worker.helpers import KINDS, LONG, Pipe, Seen, ended, within

ONCE = Retry(max_attempts=1)


@pytest.fixture
def surrounded(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, url: str) -> Any:
    """The tasks of `kinds.py`, with four middlewares around them."""
    monkeypatch.setenv("KINDS_MIDDLEWARE", "1")
    return request.getfixturevalue("kinds")


@pytest.mark.parametrize("kind", KINDS)
async def test_asynchronous_ones_go_around_plain_ones_in_their_order(
    surrounded: Any, tmp_path: Path, kind: str
) -> None:
    works, fails = tmp_path / "works", tmp_path / "fails"
    tasks = surrounded.app.tasks
    adding: Job[int] = tasks[f"{kind}.add"].using(meta={"notes": str(works)}).enqueue(1, 2)
    failing = tasks[f"{kind}.fail"].using(meta={"notes": str(fails)}, retry=ONCE)
    failed: Job[None] = failing.enqueue("no such row")
    async with surrounded.app.worker(cpu_processes=1):
        assert await adding.aresult(timeout=LONG) == 3
        assert (await ended(failed)).state == "dead"
    ways_in = ["two in", "four in", "one in", "three in"]
    ways_out = ["three out", "one out", "four out", "two out"]
    assert works.read_text().splitlines() == [*ways_in, "task", *ways_out]
    saw = ["three saw LookupError", "three out", "one saw LookupError", "one out", "four out", "two out"]
    assert fails.read_text().splitlines() == [*ways_in, *saw]
    assert [(line.error, line.message) for line in failed.history()] == [("LookupError", "no such row")]


class Watch(Middleware):
    """Notes what leaves the task, asynchronously."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @asynccontextmanager
    async def run(self, job: CurrentJob) -> AsyncIterator[None]:
        try:
            yield
        except Exception as error:
            self.seen.append(f"{job.task}: {error!r}")
            raise
        self.seen.append(f"{job.task}: fine")


@pytest.mark.parametrize("kind", KINDS)
async def test_an_asynchronous_one_sees_whether_the_task_failed(
    kinds: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    watch = Watch()
    kinds.app.middleware = (watch,)
    failing: Job[None] = kinds.app.tasks[f"{kind}.fail"].using(retry=ONCE).enqueue("no such row")
    adding: Job[int] = kinds.app.tasks[f"{kind}.add"].enqueue(1, 2)
    async with kinds.app.worker(cpu_processes=1):
        await ended(failing)
        await ended(adding)
    what, fine = sorted(watch.seen, reverse=True)
    assert fine == f"{kind}.add: fine"
    assert "LookupError" in what
    assert "no such row" in what
    assert [line.error for line in failing.history()] == ["LookupError"]


class Guard(Middleware):
    """Refuses every attempt, on the way in or on the way out."""

    def __init__(self, where: str) -> None:
        self.where = where

    @contextmanager
    def run(self, job: CurrentJob) -> Iterator[None]:
        if self.where == "in":
            raise PermissionError("closed")
        yield
        raise PermissionError("closed")


class AsyncGuard(Guard):
    @asynccontextmanager
    async def run(self, job: CurrentJob) -> AsyncIterator[None]:  # type: ignore[override]
        with super().run(job):
            yield


@pytest.mark.parametrize("guard", [Guard("in"), Guard("out"), AsyncGuard("in"), AsyncGuard("out")])
async def test_what_a_middleware_raises_is_the_failure_of_the_attempt(
    make_app: Callable[..., Backburner], guard: Guard
) -> None:
    app = make_app(middleware=[guard], retry=ONCE)
    ran: list[str] = []

    @app.task(name="thread")
    def function() -> None:
        ran.append("thread")

    @app.task(name="coroutine")
    async def coroutine() -> None:
        ran.append("coroutine")

    jobs: list[Job[None]] = [function.enqueue(), coroutine.enqueue()]
    async with app.worker():
        for job in jobs:
            assert (await ended(job)).state == "dead"
            assert [(line.error, line.message) for line in job.history()] == [("PermissionError", "closed")]
    assert sorted(ran) == ([] if guard.where == "in" else ["coroutine", "thread"])


class Swallow(Middleware):
    @contextmanager
    def run(self, job: CurrentJob) -> Iterator[None]:
        with suppress(LookupError):
            yield


class AsyncSwallow(Middleware):
    @asynccontextmanager
    async def run(self, job: CurrentJob) -> AsyncIterator[None]:
        with suppress(LookupError):
            yield


@pytest.mark.parametrize("swallow", [Swallow(), AsyncSwallow()])
async def test_a_failure_that_a_middleware_swallows_is_a_failure_all_the_same(
    make_app: Callable[..., Backburner], swallow: Middleware
) -> None:
    app = make_app(middleware=[swallow], retry=ONCE)

    @app.task
    def function() -> None:
        raise LookupError

    @app.task
    async def coroutine() -> None:
        raise LookupError

    async with app.worker():
        for job in (function.enqueue(), coroutine.enqueue()):
            assert (await ended(job)).state == "dead"


class Slow(Middleware):
    """Waits on its way in, or out, until the test goes on or the attempt is stopped."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.there = asyncio.Event()
        self.go_on = asyncio.Event()

    async def wait(self, where: str) -> None:
        if where == self.where:
            self.there.set()
            await self.go_on.wait()

    @asynccontextmanager
    async def run(self, job: CurrentJob) -> AsyncIterator[None]:
        await self.wait("in")
        yield
        await self.wait("out")


@pytest.mark.parametrize("kind", KINDS)
async def test_an_attempt_can_be_stopped_before_the_middleware_has_let_it_in(kinds: Any, kind: str) -> None:
    slow = Slow("in")
    kinds.app.middleware = (slow,)
    task = kinds.app.tasks[f"{kind}.add"].using(retry=ONCE)
    cancelled: Job[int] = task.enqueue(1, 2)
    async with kinds.app.worker(cpu_processes=1):
        await within(slow.there)
        await cancelled.acancel()
        assert (await ended(cancelled)).state == "cancelled"
        late: Job[int] = await task.using(timeout=0.05).aenqueue(1, 2)
        assert (await ended(late)).state == "dead"
    assert [line.message for line in late.history()] == ["time limit of 0.05 s"]


async def test_stopping_a_job_that_is_in_its_middleware_again_hurts_no_other_job(
    kinds: Any, pipe: Pipe, answer: Pipe
) -> None:
    slow = Slow("out")
    kinds.app.middleware = (slow,)
    seen = Seen(kinds.app)
    async with kinds.app.worker(cpu_processes=2) as embedded:
        done: Job[int] = await kinds.process_whoami.aenqueue()
        await within(slow.there)
        neighbour: Job[str] = await kinds.process_linger.aenqueue(pipe.path, answer.path)
        assert await pipe.read() == "begun", "in the process that the first one has left"
        embedded.worker.cancel({done.id: "too late"})
        await asyncio.sleep(0)  # the worker interrupts on its loop's next turn
        answer.write("well")
        slow.go_on.set()
        assert await neighbour.aresult(timeout=LONG) == "well"
    assert seen.of(events.Rescued) == []
