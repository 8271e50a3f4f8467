"""A worker that lost its lease: it drops what it ran, and nothing that it still says counts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from backburner import Backburner, current_job, events
from backburner.brokers.base import Beat, Operation
from backburner.errors import LeaseLost
from backburner.lifecycle import Settlement
from backburner.worker import maintenance
from backburner.worker.embedded import EmbeddedWorker
from tests.worker.helpers import LONG, Seen, ended, on_clock, within

Make = Callable[..., Backburner]


class Node:
    """A program with a worker; its jobs run until the test lets them end."""

    def __init__(self, make_app: Make, name: str) -> None:
        self.name = name
        self.app = make_app(lease=200, heartbeat=100)
        self.begun, self.release, self.stopped = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.said: list[str] = []
        self.task = self.app.task(name="work")(self.work)
        self.app.task(name="follow")(lambda name: None)
        self.seen = Seen(self.app)

    async def work(self) -> str:
        job = current_job()
        self.begun.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.said.append(f"stopped: {job.stop_reason}")
            self.stopped.set()
            raise
        job.then(self.app.tasks["follow"], self.name)
        try:
            await job.areport({"by": self.name})
            await job.asave({"by": self.name})
        except LeaseLost as error:
            self.said.append(str(error))
        return self.name

    def follow_ups(self) -> list[bytes]:
        return [job.payload for job in self.app.inspector.jobs() if job.task == "follow"]


async def hear_nothing() -> float:
    """A heartbeat that does not come through, and brings nothing back."""
    return 100.0


def expire(app: Backburner, embedded: EmbeddedWorker) -> None:
    """As if this worker had been silent for longer than its lease, and somebody had noticed."""
    worker, broker = embedded.worker.id, app.broker
    while worker in {info.id for info in app.inspector.workers()}:  # a beat of its own may come in between
        broker.run(broker.heartbeat([Beat(worker=worker, lease=0.0)]))
        broker.run(broker.orphans(0, [worker]))


async def test_what_a_worker_says_after_its_lease_is_refused(make_app: Make) -> None:
    old, new = Node(make_app, "old"), Node(make_app, "new")
    job = old.task.enqueue()
    async with old.app.worker() as zombie:
        zombie.maintenance.heartbeat.perform = hear_nothing
        await within(old.begun)
        expire(old.app, zombie)
        async with new.app.worker():
            await within(new.begun)
            old.release.set()
            [lost] = await old.seen.wait(events.LostLease)
            assert (lost.job.id, lost.job.token) == (job.id, 1)
            assert old.said == [f"job {job.id} is owned by another attempt by now: stop"]
            assert (job.refresh().state, job.record.token, job.progress) == ("running", 2, None)
            new.release.set()
            assert await job.aresult(timeout=LONG) == "new"
    assert old.seen.of(events.Succeeded) == []
    rescued = old.seen.of(events.Rescued) + new.seen.of(events.Rescued)
    assert [event.job.id for event in rescued] == [job.id]
    assert job.progress == {"by": "new"}
    assert new.follow_ups() == [b'["new"]'], "those of the zombie went with its result"
    assert [(line.outcome, line.token) for line in job.history()] == [("crash", 1)]


async def test_a_worker_that_learns_of_it_stops_its_jobs_and_goes_on_as_a_new_one(
    make_app: Make,
) -> None:
    old, new = Node(make_app, "old"), Node(make_app, "new")
    job = old.task.enqueue()
    async with old.app.worker() as zombie:
        first, beat = zombie.worker.id, zombie.maintenance.heartbeat.perform
        zombie.maintenance.heartbeat.perform = hear_nothing
        await within(old.begun)
        expire(old.app, zombie)
        async with new.app.worker():
            await within(new.begun)
            zombie.maintenance.heartbeat.perform = beat
            zombie.maintenance.nudge(zombie.maintenance.heartbeat)
            await within(old.stopped)
            assert old.said == ["stopped: lost"]
            assert [event.job.id for event in old.seen.of(events.LostLease)] == [job.id]
            new.release.set()
            assert await job.aresult(timeout=LONG) == "new"
        old.release.set()
        assert await old.task.enqueue().aresult(timeout=LONG) == "old"
        assert zombie.worker.id != first
        assert [info.id for info in old.app.inspector.workers()] == [zombie.worker.id]


async def test_a_function_in_a_thread_stops_as_well(make_app: Make) -> None:
    app = make_app(lease=200, heartbeat=100)
    loop, begun = asyncio.get_running_loop(), asyncio.Event()
    tokens: list[int] = []

    @app.task
    def work() -> int:
        tokens.append(current_job().token)
        loop.call_soon_threadsafe(begun.set)
        while current_job().token == 1:
            pass
        return current_job().token

    job = work.enqueue()
    async with app.worker(threads=1) as embedded:
        await within(begun)
        expire(app, embedded)
        app.broker.run(app.broker.rescue(1, 3))
        embedded.maintenance.nudge(embedded.maintenance.heartbeat)
        assert (await ended(job)).state == "succeeded"
    assert (tokens, job.result()) == ([1, 2], 2)


async def test_a_machine_that_was_suspended_does_not_take_its_own_jobs_for_lost(make_app: Make) -> None:
    app = make_app(lease=2, heartbeat=0.5)
    begun, go_on = asyncio.Event(), asyncio.Event()
    asleep = 0.0

    @app.task
    async def work() -> str:
        begun.set()
        await go_on.wait()
        return "done"

    app.broker = broker = on_clock(app, lambda: time.time() + asleep)
    job = work.enqueue()
    async with app.worker():
        await within(begun)
        asleep = 3600.0
        while (await broker.arun(broker.workers()))[0].lease_until < broker.now():  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # until the next heartbeat, which sends no signal
        go_on.set()
        assert await job.aresult(timeout=LONG) == "done"
    assert (job.record.token, job.record.crashes, job.history()) == (1, 0, [])


async def test_a_machine_that_is_suspended_before_a_rescue_does_not_take_its_own_jobs_for_lost(
    make_app: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(lease=2, heartbeat=0.5)
    begun, go_on = asyncio.Event(), asyncio.Event()
    asleep, about_to = 0.0, False

    @app.task
    async def work() -> str:
        begun.set()
        await go_on.wait()
        return "done"

    app.broker = broker = on_clock(app, lambda: time.time() + asleep)
    rescue, arun = broker.rescue, broker.arun

    def noting(limit: int, poison_after: int) -> Operation[list[Settlement]]:
        nonlocal about_to
        about_to = True
        return rescue(limit, poison_after)

    async def suspended(operation: Operation[Any]) -> Any:
        nonlocal asleep, about_to
        if not about_to:
            return await arun(operation)
        asleep, about_to = 3600.0, False
        try:
            return await arun(operation)
        finally:
            go_on.set()

    job = work.enqueue()
    async with app.worker():
        await within(begun)
        with monkeypatch.context() as patch:
            patch.setattr(broker, "rescue", noting)
            patch.setattr(broker, "arun", suspended)
            assert await job.aresult(timeout=LONG) == "done"
    assert (job.record.token, job.record.crashes, job.history()) == (1, 0, [])


async def test_a_worker_under_its_new_name_is_told_at_once_to_stop_a_job(
    make_app: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pause in ("LONGEST", "UNSURE"):
        monkeypatch.setattr(maintenance, pause, 100.0)
    node = Node(make_app, "node")
    async with node.app.worker() as zombie:
        expire(node.app, zombie)
        zombie.maintenance.nudge(zombie.maintenance.heartbeat)
        job = node.task.enqueue()
        await within(node.begun)  # only the new name is given jobs
        job.cancel()
        await within(node.stopped)
    assert node.said == ["stopped: cancelled"]
