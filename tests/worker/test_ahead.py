"""Quick functions that wait in the pool for a thread: nothing that has not begun counts as begun."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from backburner import Backburner, Job, Retry, current_job
from backburner.worker import loop
from backburner.worker.blackbox import BlackBox
from backburner.worker.embedded import EmbeddedWorker
from tests.worker.helpers import LONG, ended, within

LIMIT = 0.3
"""Seconds: more than a function here takes that has begun."""


@pytest.fixture(params=["sqlite"])
def broker_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Gate:
    """A task whose job holds the only thread, until the test opens."""

    def __init__(self, app: Backburner) -> None:
        self._open = threading.Event()
        self._begun = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.task = app.task(name="gate")(self._wait)

    def _wait(self) -> None:
        self._loop.call_soon_threadsafe(self._begun.set)
        assert self._open.wait(LONG)

    def open(self) -> None:
        self._open.set()

    @asynccontextmanager
    async def worker(
        self, app: Backburner, count: int, box: BlackBox | None = None
    ) -> AsyncIterator[EmbeddedWorker]:
        """A worker that was given so many jobs at once: the first runs, and the others wait in the pool."""
        try:
            async with app.worker(threads=1) as embedded:
                worker = embedded.worker
                worker._blackbox = worker._threads._blackbox = box
                worker._appetite._ahead = lambda kind: 2 * count  # type: ignore[method-assign]
                await within(self._begun)
                worker._appetite._ahead = lambda kind: 0  # type: ignore[method-assign]
                assert len(worker.running) == count
                assert worker.under_way == 1
                yield embedded
                self.open()
        finally:
            self.open()


async def test_a_thread_goes_from_one_to_the_next_by_itself(app: Backburner) -> None:
    gate, last, left = Gate(app), threading.Event(), 50

    @app.task
    def quick() -> None:
        nonlocal left
        left -= 1
        if not left:
            last.set()

    gate.task.enqueue()
    quick.enqueue_many([()] * left)
    async with gate.worker(app, 51):
        gate.open()
        assert last.wait(LONG), "with the loop at a standstill"


async def test_what_waits_in_the_pool_goes_back_when_the_worker_stops(app: Backburner) -> None:
    gate = Gate(app)

    @app.task
    def never() -> None:
        raise AssertionError

    holds = gate.task.enqueue()
    jobs = never.enqueue_many([()] * 20)
    async with gate.worker(app, 21) as embedded:
        embedded.worker.stop(LONG)
        gate.open()
    assert holds.refresh().state == "succeeded"
    assert {(job.refresh().state, job.record.attempt, len(job.history())) for job in jobs} == {
        ("queued", 0, 0)
    }


async def test_what_waits_in_the_pool_for_long_goes_to_others(
    make_app: Callable[..., Backburner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "HOLD", 0.2)
    one, two = make_app(), make_app()
    gate = Gate(one)
    tasks = [app.task(name="quick")(lambda: None) for app in (one, two)]
    gate.task.enqueue()
    jobs = tasks[0].enqueue_many([()] * 20)
    async with gate.worker(one, 21) as embedded, two.worker():
        for job in jobs:
            await job.aresult(timeout=LONG)
        assert embedded.worker.under_way == 1
    assert {(job.refresh().record.attempt, job.record.token) for job in jobs} == {(1, 2)}


async def test_what_waits_in_the_pool_is_cancelled_at_once_and_the_others_keep_their_order(
    app: Backburner,
) -> None:
    gate = Gate(app)
    ran: list[int] = []

    @app.task
    def note(number: int) -> None:
        ran.append(number)

    gate.task.enqueue()
    jobs = note.enqueue_many((number,) for number in range(5))
    async with gate.worker(app, 6):
        await jobs[2].acancel()
        assert (await ended(jobs[2])).state == "cancelled"
        gate.open()
        await jobs[4].aresult(timeout=LONG)
    assert ran == [0, 1, 3, 4]


async def test_a_time_limit_counts_from_when_a_thread_took_it(app: Backburner) -> None:
    gate = Gate(app)

    @app.task(timeout=2 * LIMIT, retry=Retry(max_attempts=1))
    async def clock() -> None:
        await asyncio.Event().wait()

    @app.task(timeout=LIMIT)
    def left() -> bool:
        deadline = current_job().deadline
        assert deadline is not None
        return 0 < deadline - time.monotonic() <= LIMIT

    @app.task(timeout=LIMIT, retry=Retry(max_attempts=1))
    def spin() -> None:
        while True:
            pass

    gate.task.enqueue()
    first, second = left.enqueue(), spin.enqueue()
    async with gate.worker(app, 3):
        assert (await ended(clock.enqueue())).state == "dead"
        assert (first.refresh().state, second.refresh().state) == ("running", "running")
        gate.open()
        assert await first.aresult(timeout=LONG) is True
        assert (await ended(second)).state == "dead"
    assert [line.message for line in second.history()] == [f"time limit of {LIMIT} s"]


async def test_a_crash_would_be_held_against_those_alone_that_a_thread_has(app: Backburner) -> None:
    gate = Gate(app)
    seen: list[tuple[bool, bool]] = []
    box, descriptor = BlackBox.make(250)
    os.close(descriptor)
    free = len(box._free)

    @app.task
    def look() -> None:
        started = box.started()
        seen.append((jobs[0].id in started, jobs[1].id in started))

    holds = gate.task.enqueue()
    jobs: list[Job[None]] = look.enqueue_many([()] * 2)
    async with gate.worker(app, 3, box):
        started = box.started()
        assert [job.id in started for job in (holds, *jobs)] == [True, False, False]
        gate.open()
        for job in jobs:
            await job.aresult(timeout=LONG)
    assert seen == [(True, False), (False, True)]
    assert len(box._free) == free
    box.close()
