"""Coroutines share asyncio tasks where nobody can tell, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from backburner import Backburner, Job, Retry
from backburner.context import CurrentJob
from backburner.job import JobRecord
from backburner.worker.coroutines import Coroutines
from backburner.worker.executors import Run
from tests.worker.helpers import LONG, ended


@pytest.fixture(params=["sqlite"])
def broker_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def run(app: Backburner, jobs: list[Job[Any]]) -> list[Any]:
    async with app.worker(), asyncio.timeout(LONG):
        return [await job.aresult() for job in jobs]


async def test_jobs_that_do_not_wait_cost_no_asyncio_task_each(app: Backburner) -> None:
    servers: set[Any] = set()

    @app.task
    async def quick(number: int) -> int:
        servers.add(asyncio.current_task())
        return number

    jobs = quick.enqueue_many((number,) for number in range(500))
    assert await run(app, jobs) == list(range(500))
    assert len(servers) < 50


async def test_what_a_job_sets_in_its_context_no_other_job_sees(app: Backburner) -> None:
    user = ContextVar("user", default="nobody")

    @app.task
    async def impersonate(name: str, *, wait: bool) -> tuple[str, str]:
        before = user.get()
        user.set(name)
        if wait:
            await asyncio.sleep(0)
        return before, user.get()

    jobs = [impersonate.enqueue(str(number), wait=number % 3 == 0) for number in range(30)]
    assert await run(app, jobs) == [("nobody", str(number)) for number in range(30)]


async def test_a_job_that_waits_holds_up_none_behind_it(app: Backburner) -> None:
    answered = asyncio.Event()

    @app.task
    async def ask() -> str:
        await answered.wait()
        return "answered"

    @app.task
    async def answer() -> None:
        answered.set()

    asked, _ = ask.enqueue(), answer.enqueue()
    assert await run(app, [asked]) == ["answered"]


async def test_jobs_that_wait_have_an_asyncio_task_each_and_time_limits_of_their_own(app: Backburner) -> None:
    servers: list[Any] = []

    @app.task
    async def patient(seconds: float) -> str:
        servers.append(asyncio.current_task())
        try:
            async with asyncio.timeout(seconds):
                await asyncio.sleep(0.001 if seconds else LONG)
        except TimeoutError:
            return "late"
        return "in time"

    jobs = [patient.enqueue(LONG if number % 2 else 0.0) for number in range(20)]
    assert await run(app, jobs) == ["late", "in time"] * 10
    assert len(set(servers)) == 20


async def test_who_asks_its_own_asyncio_task_to_be_cancelled_stops_no_other_job(app: Backburner) -> None:
    @app.task
    async def resign() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    @app.task
    async def stay() -> str:
        await asyncio.sleep(0)
        return "here"

    for _ in range(5):
        resign.enqueue()
    assert await run(app, [stay.enqueue() for _ in range(5)]) == ["here"] * 5


async def test_a_job_that_leaves_the_process_stops_no_other_job(app: Backburner) -> None:
    @app.task(retry=Retry(max_attempts=1))
    async def leave() -> None:
        raise SystemExit(3)

    @app.task
    async def stay() -> str:
        return "here"

    left = leave.enqueue()
    async with app.worker():
        assert await stay.enqueue().aresult(timeout=LONG) == "here"
        assert (await ended(left)).state == "dead"


@pytest.fixture
def unborn(app: Backburner) -> Iterator[Run]:
    began: list[str] = []

    @app.task
    async def begin() -> None:
        began.append("begun")

    record = JobRecord("an id", begin.name)
    yield Run(record, begin, CurrentJob(app, record), None, lambda *how: None, lambda *why: None)
    assert began == []


async def test_a_job_that_is_stopped_before_its_turn_does_not_begin(app: Backburner, unborn: Run) -> None:
    over = asyncio.get_running_loop().create_future()
    unborn.end = lambda _run, _value, error, _verdict: over.set_result(error)
    coroutines = Coroutines(app, asyncio.get_running_loop())

    coroutines.start(unborn)
    unborn.current.ask_to_stop("shutdown")
    coroutines.interrupt(unborn, "shutdown")

    assert isinstance(await over, asyncio.CancelledError)
