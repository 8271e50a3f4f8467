from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from backburner import Backburner, ConfigError, Middleware, QueueFull, State, events
from backburner.brokers.base import Beat, Claim, Filter
from backburner.job import FRESH, JobRecord
from backburner.testing import Clock, isolated


@pytest.fixture
def app() -> Iterator[Backburner]:
    app = Backburner("sqlite://")
    app.task(name="mail")(mail)
    with isolated(app, Clock()):
        yield app


def mail(user_id: int, text: str = "") -> None: ...


def stored(app: Backburner) -> list[JobRecord]:
    return app.broker.run(app.broker.find(Filter(limit=10_000)))[::-1]


def claim(app: Backburner) -> list[JobRecord]:
    app.broker.run(app.broker.heartbeat([Beat(worker="w", lease=60, new=True)]))
    return app.broker.run(app.broker.exchange([], Claim(worker="w", queues=("default",), limit=1))).jobs


def heard(app: Backburner, kind: type[events.E]) -> list[events.E]:
    found: list[events.E] = []
    app.on(kind)(found.append)
    return found


def test_an_enqueued_job_is_stored_and_can_be_asked_about(app: Backburner) -> None:
    job = app.enqueue("mail", 42, text="hi")
    assert (job.state, job.duplicate, job.finished) == (State.QUEUED, False, False)
    assert [record.payload for record in stored(app)] == [b'[42,"hi"]']
    assert app.job(job.id).record.payload == job.record.payload


async def test_it_is_the_same_on_an_event_loop(app: Backburner) -> None:
    job = await app.aenqueue("mail", 42, text="hi")
    assert [record.id for record in stored(app)] == [job.id]
    assert (await app.ajob(job.id)).record.payload == job.record.payload


async def test_many_are_stored_in_operations_of_a_thousand(app: Backburner) -> None:
    sizes: list[int] = []
    enqueue = app.broker.enqueue

    def noting(jobs: Any, bounds: Any) -> Any:
        sizes.append(len(jobs))
        return enqueue(jobs, bounds)

    app.broker.enqueue = noting  # type: ignore[method-assign]
    jobs = app.tasks["mail"].enqueue_many((number,) for number in range(2500))
    assert sizes == [1000, 1000, 500]
    assert [job.id for job in jobs] == [record.id for record in stored(app)]
    assert len(await app.tasks["mail"].aenqueue_many([(1,), (2, "x")])) == 2
    assert app.tasks["mail"].enqueue_many([]) == []
    assert sizes == [1000, 1000, 500, 2]


def test_a_call_that_cannot_be_stored_stores_none_of_its_batch(app: Backburner) -> None:
    with pytest.raises(Exception, match="argument 'user_id' cannot be stored"):
        app.tasks["mail"].enqueue_many([(1,), (object(),)])
    assert stored(app) == []


def test_who_meets_an_existing_job_can_tell(app: Backburner) -> None:
    enqueued = heard(app, events.Enqueued)
    task = app.tasks["mail"].using(idempotency_key="once")
    first, again = task.enqueue(1), task.enqueue(2)
    assert (first.id, first.duplicate) == (again.id, False)
    assert again.duplicate
    assert [event.job.id for event in enqueued] == [first.id]


def test_in_a_batch_only_the_duplicates_are_duplicates(app: Backburner) -> None:
    class Keys(Middleware):
        @contextmanager
        def enqueue(self, job: JobRecord) -> Iterator[None]:
            job.key = job.payload.decode()
            yield

    app.middleware = (Keys(),)
    enqueued = heard(app, events.Enqueued)
    app.enqueue("mail", 1)
    jobs = app.tasks["mail"].enqueue_many([(1,), (2,), (3,), (2,)])
    assert [job.duplicate for job in jobs] == [True, False, False, True]
    assert [event.job.payload for event in enqueued] == [b"[1]", b"[2]", b"[3]"]


def test_a_large_payload_is_said(app: Backburner) -> None:
    large = heard(app, events.LargePayload)
    app.enqueue("mail", 1, "x" * 8186)
    app.enqueue("mail", 1, "x" * 8187)
    assert [event.size for event in large] == [8193]


# Middleware ------------------------------------------------------------------------------------------


class Sync(Middleware):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    @contextmanager
    def enqueue(self, job: JobRecord) -> Iterator[None]:
        self.log.append(f"{self.name} before")
        job.priority += 1
        try:
            yield
        except Exception as error:
            self.log.append(f"{self.name} saw {type(error).__name__}")
            raise
        self.log.append(f"{self.name} after")


class Async(Sync):
    @asynccontextmanager
    async def enqueue(self, job: JobRecord) -> AsyncIterator[None]:  # type: ignore[override]
        with super().enqueue(job):
            yield


def test_middleware_goes_around_an_enqueue_the_first_outermost(app: Backburner) -> None:
    log: list[str] = []
    app.middleware = (Sync("a", log), Sync("b", log))
    job = app.enqueue("mail", 1)
    assert log == ["a before", "b before", "b after", "a after"]
    assert app.job(job.id).record.priority == 2


async def test_on_an_event_loop_both_kinds_of_middleware_work(app: Backburner) -> None:
    log: list[str] = []
    app.middleware = (Async("a", log), Sync("b", log))
    job = await app.aenqueue("mail", 1)
    assert log == ["a before", "b before", "b after", "a after"]
    assert app.job(job.id).record.priority == 2


def test_asynchronous_middleware_refuses_a_blocking_enqueue(app: Backburner) -> None:
    app.middleware = (Async("a", []),)
    with pytest.raises(ConfigError, match="use aenqueue"):
        app.enqueue("mail", 1)
    assert stored(app) == []


def test_middleware_sees_what_went_wrong(app: Backburner) -> None:
    log: list[str] = []
    app.middleware = (Sync("a", log),)
    app.queue("default", max_length=1)
    app.enqueue("mail", 1)
    with pytest.raises(QueueFull):
        app.enqueue("mail", 2)
    assert log == ["a before", "a after", "a before", "a saw QueueFull"]


# Full queues -----------------------------------------------------------------------------------------


def test_a_full_queue_raises_and_says_so(app: Backburner) -> None:
    filled = heard(app, events.QueueFilled)
    app.queue("default", max_length=2)
    app.tasks["mail"].enqueue_many([(1,), (2,)])
    with pytest.raises(QueueFull) as caught:
        app.enqueue("mail", 3)
    assert (caught.value.depth, caught.value.max_length) == (2, 2)
    assert filled == [events.QueueFilled(queue="default", depth=2, max_length=2)]


def test_a_full_queue_may_drop_its_oldest(app: Backburner) -> None:
    app.queue("default", max_length=2, on_full="drop_oldest")
    jobs = [app.enqueue("mail", number) for number in range(3)]
    assert [job.refresh().state for job in jobs] == [State.CANCELLED, State.QUEUED, State.QUEUED]


def test_a_full_queue_may_hold_the_caller_up_until_there_is_room(app: Backburner) -> None:
    app.queue("default", max_length=1, on_full="block")
    app.enqueue("mail", 1)
    held_up = threading.Event()
    app.on(events.QueueFilled)(lambda event: held_up.set())
    with ThreadPoolExecutor(1) as thread:
        job = thread.submit(app.enqueue, "mail", 2)
        assert held_up.wait(30)
        assert len(claim(app)) == 1
        assert job.result(30).state is State.QUEUED


async def test_an_event_loop_goes_on_while_a_full_queue_holds_a_caller_up(app: Backburner) -> None:
    app.queue("default", max_length=1, on_full="block")
    await app.aenqueue("mail", 1)
    app.on(events.QueueFilled)(lambda event: claim(app))
    job = await app.aenqueue("mail", 2)
    assert job.state is State.QUEUED


@pytest.mark.parametrize("patience", [0, 0.05])
async def test_patience_with_a_full_queue_ends(app: Backburner, patience: float) -> None:
    app.queue("default", max_length=1, on_full="block", timeout=patience)
    app.enqueue("mail", 1)
    with pytest.raises(QueueFull):
        app.enqueue("mail", 2)
    with pytest.raises(QueueFull):
        await app.aenqueue("mail", 2)


async def test_a_batch_longer_than_a_queue_that_blocks_is_stored_piece_by_piece(app: Backburner) -> None:
    app.queue("default", max_length=2, on_full="block")
    app.on(events.QueueFilled)(lambda event: claim(app))
    assert len(app.tasks["mail"].enqueue_many([(number,) for number in range(5)])) == 5
    assert len(await app.tasks["mail"].aenqueue_many([(number,) for number in range(5)])) == 5
    assert len(stored(app)) == 10


@pytest.mark.parametrize("wrong", [{"max_length": 0}, {"max_length": 5, "on_full": "explode"}], ids=str)
def test_a_bound_that_makes_no_sense_is_refused(app: Backburner, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"queue images|on_full of queue images"):
        app.queue("images", **wrong)


def test_a_job_is_fresh_unless_a_middleware_gave_it_an_id(app: Backburner) -> None:
    """A broker looks for no job that is fresh: an id from elsewhere may be there."""

    class Renaming(Middleware):
        @contextmanager
        def enqueue(self, job: JobRecord) -> Iterator[None]:
            if job.payload == b"[1]":
                job.id = "from elsewhere"
            yield

    fresh: list[bool] = []
    enqueue = app.broker.enqueue

    def noting(jobs: Any, bounds: Any) -> Any:
        fresh.extend(job.locator == FRESH for job in jobs)
        return enqueue(jobs, bounds)

    app.broker.enqueue = noting  # type: ignore[method-assign]
    app.middleware = (Renaming(),)
    app.enqueue("mail", 1)
    assert app.enqueue("mail", 2).record.locator != FRESH
    assert fresh == [False, True]
