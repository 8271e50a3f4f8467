"""A task that completes in a transaction of its own and leaves that open: only its own job waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from backburner import Backburner, Job, current_job, events
from backburner.events import JobEvent
from tests.worker.helpers import LONG, Seen

ENDS = (events.Succeeded, events.Failed, events.LostLease)


@pytest.fixture(params=["postgres"])
def broker_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kept(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that the application keeps."""
    with psycopg.connect(url.partition("?")[0]) as connection:
        yield connection


class Shop:
    def __init__(self, make_app: Callable[..., Backburner], kept: psycopg.Connection[Any]) -> None:
        # So rare that what a test waits for never comes by a heartbeat alone.
        self.app = make_app(lease=200, heartbeat=100)
        self.kept = kept
        self.returned = asyncio.Event()
        self.seen = Seen(self.app)
        self.pay = self.app.task(name="pay")(self._pay)
        self.mail = self.app.task(name="mail")(self._mail)

    async def _pay(self) -> str:
        job = current_job()
        if job.token > 1:
            self.kept.rollback()
        await job.acomplete_in(self.kept, f"paid by claim {job.token}")
        if job.token > 1:
            self.kept.commit()
        return "not looked at"

    async def _mail(self, number: int) -> int:
        return number

    def ends(self, job: Job[Any]) -> list[type[JobEvent]]:
        return [type(each) for each in self.seen.events if isinstance(each, ENDS) and each.job.id == job.id]


@pytest.fixture
async def shop(make_app: Callable[..., Backburner], kept: psycopg.Connection[Any]) -> Shop:
    return Shop(make_app, kept)


async def test_the_others_go_on_and_the_user_is_told_what_to_do(shop: Shop) -> None:
    job = shop.pay.enqueue()
    async with shop.app.worker(concurrency=2):
        [left] = await shop.seen.wait(events.LeftOpen)
        assert left.job.id == job.id
        others = [shop.mail.enqueue(number) for number in range(5)]
        assert [await each.aresult(timeout=LONG) for each in others] == [0, 1, 2, 3, 4]
        assert job.refresh().state == "running"
        shop.kept.rollback()
        assert await job.aresult(timeout=LONG) == "paid by claim 2"
        await shop.seen.wait(events.Succeeded, 6)
    assert shop.ends(job) == [events.Failed, events.Succeeded]
    assert shop.seen.of(events.BrokerDown) == []
    assert len(shop.seen.of(events.LeftOpen)) == 1


async def test_a_commit_that_comes_later_is_a_success(shop: Shop) -> None:
    job = shop.pay.enqueue()
    async with shop.app.worker(concurrency=2):
        await shop.seen.wait(events.LeftOpen)
        shop.kept.commit()
        assert await job.aresult(timeout=LONG) == "paid by claim 1"
        await shop.seen.wait(events.Succeeded)
    assert shop.ends(job) == [events.Succeeded]


async def test_a_worker_stops_within_its_grace_time_and_the_job_goes_to_others(shop: Shop) -> None:
    job = shop.pay.enqueue()
    async with shop.app.worker(concurrency=2, grace=0.5):
        await shop.seen.wait(events.LeftOpen)
    assert shop.ends(job) == [events.LostLease]
    shop.kept.rollback()
    shop.app.broker.run(shop.app.broker.rescue(10, 3))
    async with shop.app.worker(concurrency=2):
        assert await job.aresult(timeout=LONG) == "paid by claim 2"
    assert [line.outcome for line in job.history()] == ["crash"]


async def test_a_stopping_worker_waits_for_it_as_long_as_it_may(shop: Shop) -> None:
    job = shop.pay.enqueue()
    async with shop.app.worker(concurrency=2) as embedded:
        await shop.seen.wait(events.LeftOpen)
        embedded.worker.stop(LONG)
        shop.kept.commit()
    assert shop.ends(job) == [events.Succeeded]
