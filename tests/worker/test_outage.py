"""The broker goes away under a running worker, and comes back: here, the file is locked for too long."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from backburner import Backburner, BrokerUnavailable, Job, events
from backburner.brokers.base import Exchange, Operation
from backburner.brokers.sqlite import database
from backburner.brokers.sqlite.broker import SqliteBroker
from backburner.testing import Clock
from backburner.worker import exchanges
from tests.worker.helpers import LONG, Seen, within

T = TypeVar("T")


@pytest.fixture(params=["sqlite"])
def broker_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Outage:
    """Somebody else's transaction."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)

    def begin(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def end(self) -> None:
        self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outage]:
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    outage = Outage(tmp_path / "jobs.db")
    yield outage
    outage.close()


class Work:
    """Jobs that run until the test lets them end; each may run but once."""

    def __init__(self, app: Backburner) -> None:
        self.release = asyncio.Event()
        self.begun = asyncio.Event()
        self.ran: list[int] = []
        self.ended = asyncio.Queue[int]()
        self.task = app.task(name="work")(self.work)

    async def work(self, number: int) -> int:
        self.ran.append(number)
        self.begun.set()
        await self.release.wait()
        self.ended.put_nowait(number)
        return number


async def test_results_are_kept_through_an_outage_and_settled_after_it(
    make_app: Callable[..., Backburner], outage: Outage
) -> None:
    app, other = make_app(), make_app()
    work, seen = Work(app), Seen(app)
    jobs = work.task.enqueue_many([(number,) for number in range(20)])
    async with app.worker(concurrency=10) as embedded:
        await within(work.begun)
        outage.begin()
        work.release.set()
        await seen.wait(events.BrokerDown)
        with pytest.raises(BrokerUnavailable):
            await work.task.aenqueue(99)
        async with asyncio.timeout(LONG):
            assert sorted([await work.ended.get() for _ in range(10)]) == [*range(10)]
        assert work.ran == [*range(10)]
        assert other.inspector.counts() == {"running": 10, "queued": 10}
        outage.end()
        await seen.wait(events.BrokerUp)
        for number, job in enumerate(jobs):
            assert await job.aresult(timeout=LONG) == number
        assert embedded.worker.connected
        assert await work.task.enqueue(20).aresult(timeout=LONG) == 20
    assert work.ran == [*range(21)]
    assert {(job.record.attempt, job.record.token) for job in jobs} == {(1, 1)}
    assert app.inspector.counts() == {"succeeded": 21}


async def test_a_worker_that_is_idle_when_the_broker_goes_takes_up_work_when_it_is_back(
    make_app: Callable[..., Backburner], outage: Outage
) -> None:
    app = make_app(lease=1.0, heartbeat=0.1)
    work, seen = Work(app), Seen(app)
    work.release.set()
    async with app.worker():
        assert await work.task.enqueue(1).aresult(timeout=LONG) == 1
        outage.begin()
        await seen.wait(events.BrokerDown)
        outage.end()
        await seen.wait(events.BrokerUp)
        assert await work.task.enqueue(2).aresult(timeout=LONG) == 2


class LosesAnswers(SqliteBroker):
    """Does what it is asked for, and now and then tells nobody."""

    losses = 0
    asked = 0

    async def arun(self, operation: Operation[T]) -> T:
        answer = await super().arun(operation)
        if isinstance(answer, Exchange):
            self.asked += 1
            if self.asked % 3:
                self.losses += 1
                raise BrokerUnavailable("the connection broke before the answer came")
        return answer


async def test_answers_that_are_lost_cost_no_job_and_repeat_none(make_app: Callable[..., Backburner]) -> None:
    app = make_app()
    broker = app.broker = LosesAnswers(app.settings.url)
    work, seen = Work(app), Seen(app)
    work.release.set()
    jobs = work.task.enqueue_many([(number,) for number in range(200)])
    async with app.worker(concurrency=10):
        for number, job in enumerate(jobs):
            assert await job.aresult(timeout=LONG) == number
        await seen.wait(events.Succeeded, len(jobs))
    assert broker.losses > 3
    assert sorted(work.ran) == [*range(200)]
    assert {(job.record.attempt, job.record.token) for job in jobs} == {(1, 1)}
    assert seen.of(events.LostLease) == []


class DoesItLate(SqliteBroker):
    """Does not answer one exchange, and carries it out after the next, as a server that stood still."""

    late: Operation[Any] | None = None
    meanwhile: Callable[[], object] | None = None

    async def arun(self, operation: Operation[T]) -> T:
        if self.meanwhile and not self.late and getattr(operation, "__name__", "") == "exchange":
            self.late = operation
            raise BrokerUnavailable("the server stands still")
        answer = await super().arun(operation)
        if isinstance(answer, Exchange) and self.meanwhile and self.late:
            self.meanwhile()
            assert (await super().arun(self.late)).jobs
            self.meanwhile = self.late = None
        return answer


async def test_jobs_that_it_was_given_late_and_without_an_answer_run_all_the_same(
    make_app: Callable[..., Backburner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchanges, "LOOK_AGAIN", (0.1,))
    app, producer = make_app(), make_app()
    broker = app.broker = DoesItLate(app.settings.url)
    work, other = Work(app), Work(producer)
    work.release.set()
    jobs: list[Job[int]] = []
    broker.meanwhile = lambda: jobs.append(other.task.enqueue(1))
    async with app.worker():
        assert await work.task.enqueue(2).aresult(timeout=LONG) == 2
        assert await jobs[0].aresult(timeout=LONG) == 1
    assert (jobs[0].record.attempt, jobs[0].record.token) == (1, 1)


async def test_one_can_leave_during_an_outage_and_the_jobs_are_rescued_later(
    make_app: Callable[..., Backburner], outage: Outage, caplog: pytest.LogCaptureFixture
) -> None:
    app, other, clock = make_app(), make_app(), Clock()
    app.broker, other.broker = (SqliteBroker(each.settings.url, clock) for each in (app, other))
    work, successor = Work(app), Work(other)
    successor.release.set()
    job = work.task.enqueue(1)
    with caplog.at_level(logging.WARNING, "backburner"):
        async with app.worker(grace=0.1):
            await within(work.begun)
            outage.begin()
    assert "wait for its lease to run out" in caplog.text
    outage.end()
    assert job.refresh().state == "running"
    clock.advance(app.settings.lease)
    async with other.worker():
        assert await job.aresult(timeout=LONG) == 1
    assert (job.record.token, successor.ran) == (2, [1])
