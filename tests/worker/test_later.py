"""Jobs for later, jobs that come too late, jobs enqueued twice, and jobs enqueued by name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from backburner import Backburner, JobCancelled, Task, current_job
from backburner.testing import Clock, adrain, isolated
from tests.worker.helpers import LONG

Add = Task[[int, int], int]


@pytest.fixture
def add(app: Backburner) -> Add:
    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    return add


@pytest.fixture
def clock(app: Backburner) -> Iterator[Clock]:
    with isolated(app) as clock:
        yield clock


async def test_a_delayed_job_starts_when_its_time_has_come_and_not_before(add: Add, clock: Clock) -> None:
    job = add.using(delay=60).enqueue(1, 2)
    at = add.using(run_after=datetime.fromtimestamp(clock() + 120, UTC)).enqueue(3, 4)
    assert (job.state, at.state) == ("scheduled", "scheduled")
    clock.advance(59.9)
    assert await adrain(add.app) == 0
    clock.advance(0.1)
    assert await adrain(add.app) == 1
    assert job.result(timeout=0) == 3
    clock.advance(60)
    assert await adrain(add.app) == 1
    assert at.result(timeout=0) == 7


async def test_what_was_due_in_the_past_starts_now(add: Add) -> None:
    job = add.using(run_after=datetime(2020, 1, 1, tzinfo=UTC)).enqueue(1, 2)
    assert job.state == "queued"
    async with add.app.worker():
        assert await job.aresult(timeout=LONG) == 3


async def test_an_idle_worker_wakes_up_for_a_delayed_job(add: Add) -> None:
    async with add.app.worker():
        await add.enqueue(1, 2).aresult(timeout=LONG)
        due = time.time() + 0.2
        job = await add.using(delay=0.2).aenqueue(3, 4)
        assert await job.aresult(timeout=LONG) == 7
    assert job.record.started_at is not None
    assert job.record.started_at >= due


async def test_a_job_that_waits_too_long_is_cancelled_and_never_started(add: Add, clock: Clock) -> None:
    late = add.using(expires=60).enqueue(1, 2)
    dated = add.using(expires=datetime.fromtimestamp(clock() + 60, UTC)).enqueue(1, 2)
    soon = add.using(expires=61).enqueue(1, 2)
    clock.advance(60.5)
    assert await adrain(add.app) == 1
    assert soon.result(timeout=0) == 3
    for job in (late, dated):
        with pytest.raises(JobCancelled, match="expired: it had not started after 60 s"):
            job.result(timeout=0)


async def test_an_idempotency_key_makes_one_job_of_many_enqueues(
    add: Add, make_app: Callable[..., Backburner]
) -> None:
    once = add.using(idempotency_key="order-7")
    first = once.enqueue(1, 2)
    again = await once.aenqueue(30, 40)
    assert (again.id, first.duplicate, again.duplicate) == (first.id, False, True)
    async with add.app.worker():
        assert await again.aresult(timeout=LONG) == 3
        [later] = once.enqueue_many([(5, 6)])
        assert (later.id, later.result()) == (first.id, 3), "for as long as it is kept"
    other = make_app().named(add.name).using(idempotency_key="order-7").enqueue(1, 1)
    assert other.id == first.id
    assert add.app.inspector.counts() == {"succeeded": 1}


async def test_a_process_without_the_code_enqueues_by_name(make_app: Callable[..., Backburner]) -> None:
    worker, web = make_app(), make_app()

    @worker.task(name="greet", queue="polite")
    async def greet(name: str, *, greeting: str = "hello") -> list[object]:
        return [greeting, name, current_job().queue]

    async with worker.worker():
        plain = web.enqueue("greet", "Ada")
        assert await plain.aresult(timeout=LONG) == ["hello", "Ada", "default"]
        job = await web.aenqueue("greet", "Ada", greeting="good night")
        assert await job.aresult(timeout=LONG) == ["good night", "Ada", "default"]
        special = await web.named("greet").using(queue="polite", delay=0.01).aenqueue("Bob")
        assert await special.aresult(timeout=LONG) == ["hello", "Bob", "polite"]
