"""How a job ends, by what its function does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from backburner import (
    Backburner,
    Cancel,
    Dead,
    Job,
    JobCancelled,
    JobFailed,
    Retry,
    Snooze,
    current_job,
    events,
    lifecycle,
)
from backburner.job import JobRecord, new_id
from backburner.settings import Settings
from tests.worker.helpers import LONG, Seen, ended

OUTCOMES = (events.Succeeded, events.Failed, events.Died, events.Snoozed, events.Cancelled)


async def run(app: Backburner, job: Job[Any]) -> Job[Any]:
    async with app.worker():
        await ended(job)
    return job


async def test_a_value_comes_back_as_the_annotated_type(app: Backburner) -> None:
    @app.task
    async def tomorrow(day: date) -> date:
        return day.replace(day=day.day + 1)

    job = await tomorrow.aenqueue(date(2024, 2, 28))
    async with app.worker():
        assert await job.aresult(timeout=LONG) == date(2024, 2, 29)
    assert (job.state, job.record.attempt, job.history()) == ("succeeded", 1, [])


async def test_a_failure_is_retried_until_its_attempts_are_used_up(app: Backburner) -> None:
    @app.task(retry=Retry(max_attempts=3, first=0))
    def fail() -> None:
        raise OSError(f"attempt {current_job().attempt}")

    job = await run(app, fail.enqueue())
    assert (job.state, job.record.reason) == ("dead", "attempts used up (3 of 3)")
    history = job.history()
    assert [(line.attempt, line.outcome, line.error, line.message) for line in history] == [
        (1, "retry", "OSError", "attempt 1"),
        (2, "retry", "OSError", "attempt 2"),
        (3, "die", "OSError", "attempt 3"),
    ]
    assert [line.token for line in history] == [1, 2, 3]
    assert all(line.started_at <= line.ended_at for line in history)
    with pytest.raises(JobFailed, match="OSError: attempt 3") as failed:
        await job.aresult()
    assert failed.value.error == "OSError"


async def test_the_traceback_begins_at_the_function(app: Backburner) -> None:
    def inner() -> None:
        raise ValueError("deep")

    @app.task(retry=Retry(max_attempts=1))
    def plain() -> None:
        inner()

    @app.task(retry=Retry(max_attempts=1))
    async def coroutine() -> None:
        inner()

    jobs: list[Job[None]] = [plain.enqueue(), coroutine.enqueue()]
    async with app.worker():
        for job in jobs:
            await ended(job)
    for job, name in zip(jobs, ("plain", "coroutine"), strict=True):
        text = job.history()[0].traceback or ""
        frames = [line for line in text.splitlines() if line.startswith("  File")]
        assert [frame.rpartition(" in ")[2] for frame in frames] == [name, "inner"]
        assert text.endswith("ValueError: deep\n")


async def test_retry_after_says_when_and_burns_an_attempt(app: Backburner) -> None:
    @app.task(retry=Retry(max_attempts=2, first=3600))
    def busy() -> int:
        if current_job().attempt == 1:
            raise Retry.after(0, "the shop is busy")
        return current_job().attempt

    job = await run(app, busy.enqueue())
    assert job.result() == 2
    assert [(line.outcome, line.message) for line in job.history()] == [("retry", "the shop is busy")]


async def test_an_excluded_error_is_not_retried(app: Backburner) -> None:
    @app.task(retry=Retry(never=(ValueError,), first=0))
    def fail() -> None:
        raise ValueError("no")

    job = await run(app, fail.enqueue())
    assert (job.state, job.record.reason, job.record.attempt) == ("dead", "not retryable: ValueError", 1)


async def test_a_snooze_burns_no_attempt(app: Backburner) -> None:
    @app.task
    def poll() -> list[int]:
        job = current_job()
        if job.token < 4:
            raise Snooze(0, "not there yet")
        return [job.attempt, job.token]

    seen = Seen(app)
    job = await run(app, poll.enqueue())
    assert job.result() == [1, 4]
    assert [event.reason for event in seen.of(events.Snoozed)] == ["not there yet"] * 3
    assert job.history() == []


async def test_a_task_may_cancel_itself(app: Backburner) -> None:
    @app.task
    async def stop() -> None:
        raise Cancel("the order was withdrawn")

    job = await run(app, stop.enqueue())
    assert job.state == "cancelled"
    with pytest.raises(JobCancelled, match="the order was withdrawn"):
        job.result()


async def test_a_task_may_give_up_for_good(app: Backburner) -> None:
    @app.task
    def stop() -> None:
        raise Dead("no such customer")

    seen = Seen(app)
    job = await run(app, stop.enqueue())
    assert (job.state, job.record.reason, job.record.attempt) == ("dead", "no such customer", 1)
    assert seen.names(*OUTCOMES) == ["Died"]


async def test_an_unknown_task_waits_for_a_worker_that_has_it(make_app: Callable[..., Backburner]) -> None:
    old, new = make_app(unknown_task_delay=0.05), make_app()

    @new.task(name="greet")
    async def greet(name: str) -> list[object]:
        return [name, current_job().attempt]

    seen = Seen(old)
    job = old.enqueue("greet", "Ada")
    async with old.worker():
        await seen.wait(events.UnknownTask)
        await seen.wait(events.Snoozed)
    assert "greet" in (job.refresh().record.reason or "")
    assert job.record.attempt == 0
    async with new.worker():
        assert await job.aresult(timeout=LONG) == ["Ada", 1]


def test_jobs_that_wait_long_for_other_workers_come_back_apart() -> None:
    """Or two, each claimed by the worker that has the code of the other, go on like that for ever."""
    settings = Settings(url="sqlite://", unknown_task_delay=1000)

    def delays(token: int) -> set[float]:
        jobs = [JobRecord(id=new_id(), task="elsewhere", token=token) for _ in range(10)]
        return {lifecycle.put_off(job, settings, 0.0, "").run_at for job in jobs}

    assert delays(1) == {1000}
    later = delays(lifecycle.ROUNDS + 1)
    assert all(500 <= delay <= 1500 for delay in later)
    assert max(later) - min(later) > 50


async def test_arguments_that_do_not_fit_are_dead_at_once_and_named(app: Backburner) -> None:
    @app.task(name="resize")
    def resize(photo: int, size: int) -> None:
        raise AssertionError((photo, size))

    remote = Backburner(app.settings.url)
    wrong = remote.enqueue("resize", 1, "large")
    missing = remote.enqueue("resize", 1)
    async with app.worker():
        for job in (wrong, missing):
            await ended(job)
    assert (wrong.state, wrong.record.attempt, missing.state) == ("dead", 1, "dead")
    assert "argument 'size'" in (wrong.record.reason or "")
    assert "resize: argument 'size' is missing" in (missing.record.reason or "")
    remote.close()


@pytest.mark.parametrize(
    "value", [object(), {1j}, float, "\ud800"], ids=["object", "set", "class", "surrogate"]
)
async def test_a_result_without_a_json_form_is_dead_with_a_reason(app: Backburner, value: object) -> None:
    @app.task
    async def odd() -> object:
        return value

    job = await run(app, odd.enqueue())
    reason = job.record.reason or ""
    assert (job.state, job.record.attempt) == ("dead", 1)
    assert type(value).__qualname__ in reason
    assert "return plain data" in reason


async def test_an_expired_job_never_runs(make_app: Callable[..., Backburner]) -> None:
    app = make_app()

    @app.task
    def late() -> None:
        raise AssertionError

    job = late.using(expires=0).enqueue()
    await run(app, job)
    assert (job.state, job.record.attempt) == ("cancelled", 1)
    assert "expired" in (job.record.reason or "")


class User:
    def __init__(self, id: int) -> None:  # noqa: A002
        self.id = id


@pytest.mark.parametrize(("missing", "state", "attempts"), [("dead", "dead", 1), ("cancel", "cancelled", 1)])
async def test_a_reference_that_is_gone_ends_the_job(
    app: Backburner, missing: Any, state: str, attempts: int
) -> None:
    app.reference(User, load=lambda key: None, missing=missing)

    @app.task
    async def greet(user: User) -> None:
        raise AssertionError(user)

    job = await run(app, greet.enqueue(User(7)))
    assert (job.state, job.record.attempt) == (state, attempts)
    assert "User 7 no longer exists" in (job.record.reason or "")


async def test_a_reference_that_is_gone_may_be_tried_again(app: Backburner) -> None:
    stored: dict[int, User] = {}

    def load(key: int) -> User:
        if key not in stored:
            stored[key] = User(key)
            raise KeyError(key)
        return stored[key]

    app.reference(User, load=load, missing="retry")

    @app.task
    def greet(user: User) -> list[int]:
        return [user.id, current_job().attempt]

    job = await run(app, greet.enqueue(User(7)))
    assert job.result() == [7, 2]
    assert "no longer exists" in (job.history()[0].message or "")
