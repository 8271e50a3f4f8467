"""Middleware around an enqueue."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import pytest

from backburner import Backburner, ConfigError, Middleware, QueueFull, current_job
from backburner.job import JobRecord
from tests.worker.helpers import LONG

Make = Callable[..., Backburner]


class Noted(Middleware):
    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self.notes = name, notes

    @contextmanager
    def enqueue(self, job: JobRecord) -> Iterator[None]:
        self.notes.append(f"{self.name} in")
        try:
            yield
        except Exception as error:
            self.notes.append(f"{self.name} saw {type(error).__name__}")
            raise
        finally:
            self.notes.append(f"{self.name} out")


class AsyncNoted(Noted):
    @asynccontextmanager
    async def enqueue(self, job: JobRecord) -> AsyncIterator[None]:  # type: ignore[override]
        with super().enqueue(job):
            yield


class Trace(Middleware):
    """Hands the name of the task on to the job, as one would a trace id."""

    @contextmanager
    def enqueue(self, job: JobRecord) -> Iterator[None]:
        job.options.meta.setdefault("trace", f"{job.task} {job.id}")
        yield


async def test_they_go_around_each_other_in_their_order(make_app: Make) -> None:
    notes: list[str] = []
    app = make_app(middleware=[Noted("one", notes), AsyncNoted("two", notes)])
    task = app.task(name="task")(lambda: None)
    await task.aenqueue()
    assert notes == ["one in", "two in", "two out", "one out"]


async def test_an_enqueue_that_fails_passes_through_all_of_them(make_app: Make) -> None:
    notes: list[str] = []
    app = make_app(middleware=[Noted("one", notes), Noted("two", notes)])
    app.queue("default", max_length=1)
    task = app.task(name="task")(lambda: None)
    task.enqueue()
    notes.clear()
    way = ["one in", "two in", "two saw QueueFull", "two out", "one saw QueueFull", "one out"]
    with pytest.raises(QueueFull):
        task.enqueue()
    with pytest.raises(QueueFull):
        await task.aenqueue()
    assert notes == way * 2


def test_an_asynchronous_one_is_refused_by_a_plain_enqueue_which_stores_nothing(make_app: Make) -> None:
    app = make_app(middleware=[AsyncNoted("two", [])])
    task = app.task(name="task")(lambda: None)
    with pytest.raises(ConfigError, match="use aenqueue"):
        task.enqueue()
    assert app.inspector.jobs() == []


def test_what_one_raises_keeps_the_job_out(make_app: Make) -> None:
    class Guard(Middleware):
        def enqueue(self, job: JobRecord) -> Any:
            raise PermissionError(job.task)

    app = make_app(middleware=[Guard()])
    task = app.task(name="task")(lambda: None)
    with pytest.raises(PermissionError, match="task"):
        task.enqueue()
    assert app.inspector.jobs() == []


async def test_what_one_writes_into_meta_reaches_that_job_and_no_other(make_app: Make) -> None:
    app = make_app(middleware=[Trace()])

    def trace() -> dict[str, Any]:
        return current_job().meta

    plain = app.task(name="plain")(trace)
    tagged = app.task(name="tagged", meta={"team": "blue"})(trace)
    jobs = [*plain.enqueue_many([(), ()]), await plain.aenqueue(), tagged.enqueue(), tagged.enqueue()]
    async with app.worker():
        for job in jobs:
            team = {"team": "blue"} if job.record.task == "tagged" else {}
            assert await job.aresult(timeout=LONG) == {**team, "trace": f"{job.record.task} {job.id}"}


async def test_one_that_swallows_an_error_is_told_that_there_is_no_job(make_app: Make) -> None:
    class Silent(Middleware):
        @contextmanager
        def enqueue(self, job: JobRecord) -> Iterator[None]:
            with suppress(QueueFull):
                yield

    app = make_app(middleware=[Silent()])
    app.queue("default", max_length=1)
    task = app.task(name="task")(lambda: None)
    task.enqueue()
    with pytest.raises(ConfigError, match="raise that again"):
        task.enqueue()
    with pytest.raises(ConfigError, match="raise that again"):
        await task.aenqueue()
