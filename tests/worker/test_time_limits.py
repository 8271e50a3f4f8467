"""Time limits: what they end, and what becomes of the job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from backburner import Backburner, Job, Retry, current_job
from backburner.control import Stop
from tests.worker.helpers import KINDS, LONG, Pipe, ended

ONCE = Retry(max_attempts=1)
LIMIT = 0.5
"""Seconds: more than any task here takes to come to the point at which it waits."""


@pytest.mark.parametrize("kind", KINDS)
async def test_a_time_limit_is_a_failure_that_the_policy_retries(kinds: Any, pipe: Pipe, kind: str) -> None:
    job: Job[None] = kinds.app.tasks[f"{kind}.spin"].using(timeout=0.1).enqueue(pipe.path)
    async with kinds.app.worker(cpu_processes=1):
        record = await ended(job)
    assert (record.state, record.reason) == ("dead", "attempts used up (2 of 2)")
    assert [(line.outcome, line.error, line.message) for line in job.history()] == [
        ("retry", "TimeoutError", "time limit of 0.1 s"),
        ("die", "TimeoutError", "time limit of 0.1 s"),
    ]


async def test_the_limit_of_the_job_counts_more_than_the_tasks_and_that_more_than_the_apps(
    make_app: Callable[..., Backburner],
) -> None:
    app = make_app(timeout=0.01, retry=ONCE)

    async def wait() -> None:
        await asyncio.Event().wait()

    general, special = app.task(name="general")(wait), app.task(name="special", timeout=0.02)(wait)
    jobs = [general.enqueue(), special.enqueue(), special.using(timeout=0.03).enqueue()]
    async with app.worker():
        for job in jobs:
            await ended(job)
    assert [job.history()[0].message for job in jobs] == [
        "time limit of 0.01 s",
        "time limit of 0.02 s",
        "time limit of 0.03 s",
    ]


async def test_a_policy_may_exclude_time_limits(app: Backburner) -> None:
    @app.task(timeout=0.01, retry=Retry(never=(TimeoutError,)))
    async def slow() -> None:
        await asyncio.Event().wait()

    job = slow.enqueue()
    async with app.worker():
        record = await ended(job)
    assert (record.state, record.attempt, record.reason) == ("dead", 1, "not retryable: TimeoutError")


async def test_what_is_stopped_can_clean_up_and_knows_why(app: Backburner) -> None:
    said: list[tuple[str | None, bool]] = []

    @app.task(timeout=LIMIT, retry=ONCE)
    async def coroutine() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            said.append((current_job().stop_reason, current_job().cancelled))

    @app.task(timeout=LIMIT, retry=ONCE)
    def function() -> None:
        try:
            while True:
                pass
        finally:
            said.append((current_job().stop_reason, current_job().cancelled))

    jobs = (coroutine.enqueue(), function.enqueue())
    async with app.worker():
        for job in jobs:
            await ended(job)
    assert said == [("timeout", True)] * 2


async def test_what_catches_the_interruption_may_still_return_something(app: Backburner) -> None:
    @app.task(timeout=LIMIT)
    def function() -> str:
        try:
            while True:
                pass
        except Stop:
            return "half of it"

    @app.task(timeout=LIMIT)
    async def coroutine() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "half of it"
        raise AssertionError

    jobs = (function.enqueue(), coroutine.enqueue())
    async with app.worker():
        for job in jobs:
            assert await job.aresult(timeout=LONG) == "half of it"
            assert job.record.attempt == 1


async def test_the_start_of_its_process_is_not_a_jobs_time(kinds: Any) -> None:
    job: Job[int] = kinds.process_add.using(timeout=0.05, retry=ONCE).enqueue(1, 2)
    async with kinds.app.worker(cpu_processes=1):
        assert await job.aresult(timeout=LONG) == 3
