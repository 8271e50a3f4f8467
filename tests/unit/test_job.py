"""The handle that a caller holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from backburner import (
    Backburner,
    Job,
    JobCancelled,
    JobFailed,
    JobNotFound,
    ResultTimeout,
    State,
    lifecycle,
)
from backburner.brokers.base import Beat, Claim
from backburner.job import JobRecord, when
from backburner.lifecycle import ErrorInfo, Settlement
from backburner.testing import Clock, isolated

BOOM = ErrorInfo("builtins.OSError", "boom", "Traceback …\nOSError: boom")


@pytest.fixture
def app() -> Iterator[Backburner]:
    app = Backburner("sqlite://")
    app.task(name="sizes")(sizes)
    with isolated(app, Clock(1000.0)):
        yield app


def sizes(photo_id: int) -> list[tuple[int, int]]:
    return [(photo_id, photo_id)]


def claim(app: Backburner) -> JobRecord:
    app.broker.run(app.broker.heartbeat([Beat(worker="w", lease=60, new=True)]))
    return app.broker.run(app.broker.exchange([], Claim(worker="w", queues=("default",), limit=1))).jobs[0]


def settle(app: Backburner, settlement: Settlement) -> None:
    assert app.broker.run(app.broker.exchange([settlement], None)).lost == []


def succeed(app: Backburner) -> None:
    settle(app, lifecycle.succeeded(claim(app), b"[[1,2]]", 1000, keep=60))


async def both(job: Job[Any], timeout: float | None = 0) -> list[Any]:
    return [job.result(timeout), await job.aresult(timeout)]


async def test_the_result_of_a_job_that_has_succeeded_is_one_question(
    app: Backburner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was two and a waiter, which is a transaction of its own on PostgreSQL."""
    job = app.tasks["sizes"].enqueue(42)
    succeed(app)
    asked: list[str] = []

    def noted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            asked.append(name)
            return method(*given)

        return call

    for name in ("get", "history", "waiter"):
        monkeypatch.setattr(app.broker, name, noted(name, getattr(app.broker, name)))
    await both(job)
    assert asked == ["get", "get"]


async def test_a_result_has_the_type_that_the_task_says(app: Backburner) -> None:
    job = app.tasks["sizes"].enqueue(42)
    succeed(app)
    assert await both(job) == [[(1, 2)], [(1, 2)]]
    assert await both(app.job(job.id)) == [[(1, 2)], [(1, 2)]]
    assert (job.state, job.finished) == (State.SUCCEEDED, True)


def test_a_caller_that_waits_is_given_the_result_when_it_is_there(app: Backburner) -> None:
    job = app.tasks["sizes"].enqueue(42)
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(job.result, 30)
        succeed(app)
        assert result.result(30) == [(1, 2)]


async def test_a_job_that_takes_longer_goes_on_all_the_same(app: Backburner) -> None:
    job = app.tasks["sizes"].enqueue(42)
    message = f"job {job.id} is queued after 0.01 s; `backburner explain {job.id}` says why"
    with pytest.raises(ResultTimeout, match=message):
        job.result(0.01)
    with pytest.raises(ResultTimeout, match=message) as caught:
        await job.aresult(0.01)
    assert caught.value.job_id == job.id
    assert job.refresh().state is State.QUEUED


async def test_a_failure_carries_the_workers_traceback(app: Backburner) -> None:
    job = app.tasks["sizes"].enqueue(42)
    settle(app, lifecycle.dead(claim(app), BOOM, "attempts used up (1 of 1)", 1000))
    with pytest.raises(
        JobFailed, match=r"is dead \(attempts used up .*\n\nTraceback …\nOSError: boom"
    ) as caught:
        await both(job)
    assert (caught.value.error, caught.value.reason) == ("builtins.OSError", "attempts used up (1 of 1)")
    assert [line.outcome for line in job.history()] == ["die"]


async def test_a_job_can_be_cancelled_by_its_handle(app: Backburner) -> None:
    job = app.tasks["sizes"].enqueue(42)
    assert job.cancel("changed my mind")
    assert not job.cancel()
    assert not await job.acancel()
    with pytest.raises(JobCancelled, match="was cancelled: changed my mind"):
        await both(job)


async def test_a_running_job_is_asked_to_stop(app: Backburner) -> None:
    job = app.tasks["sizes"].enqueue(42)
    claim(app)
    assert await job.acancel()
    assert (job.refresh().state, job.record.cancel_requested) == (State.RUNNING, True)


async def test_an_unknown_job_is_never_mistaken_for_one_that_waits(app: Backburner) -> None:
    with pytest.raises(JobNotFound, match="no job nobody") as caught:
        app.job("nobody")
    assert caught.value.job_id == "nobody"
    with pytest.raises(JobNotFound, match="no job nobody"):
        Job(app, JobRecord(id="nobody", task="sizes")).result(5)
    with pytest.raises(JobNotFound):
        await app.ajob("nobody")


async def test_a_job_that_is_deleted_while_somebody_waits_is_not_found(app: Backburner) -> None:
    job = app.tasks["sizes"].enqueue(42)
    with ThreadPoolExecutor(1) as thread:
        result = thread.submit(job.result, 30)
        app.broker.run(app.broker.delete([job.id]))
        with pytest.raises(JobNotFound):
            result.result(30)
    with pytest.raises(JobNotFound):
        await job.arefresh()


def test_progress_is_seen_after_a_look(app: Backburner) -> None:
    job = app.tasks["sizes"].enqueue(42)
    app.broker.run(app.broker.note(claim(app), b'{"done":0.5}', None))
    assert job.progress is None
    assert job.refresh().progress == {"done": 0.5}


def test_a_handle_says_what_it_is(app: Backburner) -> None:
    job = app.tasks["sizes"].enqueue(42)
    assert repr(job) == f"<Job {job.id} sizes queued>"
    assert (when(0.0), when(None)) == ("1970-01-01 00:00:00Z", "")
