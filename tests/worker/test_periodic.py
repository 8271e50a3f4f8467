"""Periodic tasks: what workers make of a schedule as time goes by."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backburner import Backburner, Task, events
from backburner.job import JobRecord
from backburner.periodic import tick
from backburner.testing import Clock, adrain, isolated
from tests.worker.helpers import LONG, Seen, on_clock, within

Clean = Task[[], None]


@pytest.fixture
def clock(app: Backburner) -> Iterator[Clock]:
    with isolated(app) as clock:
        yield clock


@pytest.fixture
def clean(app: Backburner, clock: Clock) -> Clean:
    @app.task(name="clean")
    async def clean() -> None: ...

    return clean


def jobs(app: Backburner) -> list[JobRecord]:
    return app.inspector.jobs()


async def test_a_worker_stores_the_declared_schedules_and_fires_them(
    app: Backburner, clean: Clean, clock: Clock
) -> None:
    app.every(60)(clean)
    assert await adrain(app) == 0
    assert [stored.next_at for stored in app.inspector.schedules()] == [clock() + 60]
    for fires in (1, 2, 3):
        clock.advance(60)
        assert await adrain(app) == 1
        assert len(jobs(app)) == fires
        assert await adrain(app) == 0, "once"


async def test_an_idle_worker_fires_on_time_and_by_itself(app: Backburner) -> None:
    begun = asyncio.Event()

    @app.every(0.3)
    @app.task
    async def beat() -> None:
        begun.set()

    async with app.worker():
        await within(begun)


async def test_a_schedule_can_be_made_replaced_and_deleted_while_a_worker_runs(app: Backburner) -> None:
    @app.task
    async def note(what: str) -> str:
        return what

    seen = Seen(app)
    async with app.worker():
        app.schedule(note, name="nightly", every=0.1, args=["old"], missed="skip")
        [event] = await seen.wait(events.Succeeded)
        assert await app.job(event.job.id).aresult() == "old"
        app.schedule(note, name="nightly", every=0.1, args=["new"])
        count = len(seen.of(events.Succeeded))
        found = await seen.wait(events.Succeeded, count + 3)
        assert await app.job(found[-1].job.id).aresult() == "new"
        assert app.unschedule("nightly")
        assert not app.unschedule("nightly")
        assert app.inspector.schedules() == []


async def test_two_workers_fire_each_tick_once(make_app: Callable[..., Backburner]) -> None:
    clock, ran = Clock(), asyncio.Queue[str]()

    def process(name: str) -> Backburner:
        app = make_app(lease=200)
        app.broker = on_clock(app, clock)

        @app.every(5)
        @app.task(name="clean")
        async def clean() -> None:
            ran.put_nowait(name)

        return app

    apps = [process("one"), process("two")]
    async with apps[0].worker(), apps[1].worker():
        for _ in range(10):
            clock.advance(5)
            # Both at the same time, and their workers as well, some time.
            ticks = await asyncio.gather(*(app.broker.arun(tick(app.broker)) for app in apps))
            assert sum(len(each.jobs) for each in ticks) <= 1
            await asyncio.wait_for(ran.get(), LONG)
    assert ran.empty()
    assert apps[0].inspector.counts() == {"succeeded": 10}


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        ({"missed": "skip"}, 0),
        ({"missed": "once"}, 1),
        ({"missed": "all"}, 10),
        ({"missed": "all", "missed_cap": 3}, 3),
        ({"missed": "skip", "grace": 30.0}, 1),
        ({}, 1),
    ],
    ids=str,
)
async def test_what_was_missed_while_no_worker_ran(
    app: Backburner, clean: Clean, clock: Clock, options: dict[str, Any], runs: int
) -> None:
    app.schedule(clean, name="minutely", every=60, **{"grace": 10.0, **options})
    clock.advance(600 + 30)
    assert await adrain(app) == runs
    clock.advance(30)
    assert await adrain(app) == 1, "then it goes on as planned"


@pytest.mark.parametrize(("overlap", "second"), [("skip", 0), ("allow", 1)])
async def test_a_fire_while_the_previous_job_is_not_done(
    app: Backburner, clean: Clean, clock: Clock, overlap: str, second: int
) -> None:
    app.schedule(clean, name="minutely", every=60, overlap=overlap)
    app.inspector.pause_queue("default")
    clock.advance(60)
    await adrain(app)
    assert [job.state for job in jobs(app)] == ["queued"]
    clock.advance(60)
    await adrain(app)
    assert len(jobs(app)) == 1 + second
    app.inspector.resume_queue("default")
    assert await adrain(app) == 1 + second
    clock.advance(60)
    assert await adrain(app) == 1


async def test_jitter_delays_each_fire_by_a_part_of_it_that_every_worker_agrees_on(
    app: Backburner, clean: Clean, clock: Clock
) -> None:
    app.schedule(clean, name="a", every=60, jitter=20)
    app.schedule(clean, name="b", every=60, jitter=20)
    delays = []
    for _ in range(5):
        clock.advance(60)
        assert await adrain(app) == 0
        waiting = [job for job in jobs(app) if job.state == "scheduled"]
        delays += [job.run_at - clock() for job in waiting]
        clock.advance(20)
        assert await adrain(app) == 2
        clock.advance(-20)
    assert len(set(delays)) == 10
    assert all(0 <= delay < 20 for delay in delays)


async def test_a_paused_schedule_fires_again_when_it_is_resumed(
    app: Backburner, clean: Clean, clock: Clock
) -> None:
    app.schedule(clean, name="minutely", every=60, missed="skip")
    assert app.inspector.pause_schedule("minutely")
    clock.advance(90)
    assert await adrain(app) == 0
    assert app.inspector.resume_schedule("minutely")
    clock.advance(90)
    assert await adrain(app) == 1


async def test_a_restart_with_the_same_declaration_does_not_put_off_the_next_fire(
    app: Backburner, clean: Clean, clock: Clock
) -> None:
    app.every(60)(clean)
    await adrain(app)
    for _ in range(3):  # deploys, half a minute apart
        clock.advance(20)
        await adrain(app)
    assert len(jobs(app)) == 1
