from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from backburner import Backburner, ConfigError
from backburner.brokers.base import StoredSchedule
from backburner.job import JobRecord, Options
from backburner.periodic import stored, tick
from backburner.schedule import Schedule
from backburner.testing import Clock, isolated

MIDNIGHT = datetime(2027, 1, 15, tzinfo=UTC).timestamp()


@pytest.fixture
def clock() -> Clock:
    return Clock(MIDNIGHT)


@pytest.fixture
def app(clock: Clock) -> Iterator[Backburner]:
    app = Backburner("sqlite://")
    app.task(name="clean", queue="night", priority=4, tags=["t"])(clean)
    with isolated(app, clock):
        yield app


def clean(older_than: int = 30) -> None: ...


def ticked(app: Backburner) -> list[JobRecord]:
    return app.broker.run(tick(app.broker)).jobs


def schedules(app: Backburner) -> list[StoredSchedule]:
    return app.broker.run(app.broker.schedules())


def test_a_declaration_keeps_the_task_as_it_is(app: Backburner) -> None:
    task = app.tasks["clean"]
    assert app.cron("0 3 * * *", tz="Europe/Berlin", args=[7])(task) is task
    assert app.declared == {
        "clean": Schedule(
            name="clean",
            task="clean",
            cron="0 3 * * *",
            tz="Europe/Berlin",
            payload=b"[7]",
            queue="night",
            priority=4,
            options=Options(tags=("t",)),
        )
    }
    assert schedules(app) == [], "a worker stores it when it starts"


def test_a_task_may_have_several_schedules_under_names_of_their_own(app: Backburner) -> None:
    app.every(60)(app.tasks["clean"])
    app.every(3600, name="hourly")(app.tasks["clean"])
    assert app.declared["hourly"].every == 3600.0
    with pytest.raises(ConfigError, match="two schedules are named 'hourly'"):
        app.every(5, name="hourly")(app.tasks["clean"])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"cron": "0 25 * * *"}, "cron expression '0 25"),
        ({"cron": "* * * * *", "every": 5.0}, "give one of the two"),
        ({}, "give one of the two"),
        ({"every": 0.0}, "every takes a number"),
        ({"every": 5.0, "tzz": "UTC"}, "did you mean 'tz'"),
        ({"cron": "0 3 * * *", "tz": "Europe/Berln"}, "did you mean 'Europe/Berlin'"),
        ({"every": 5.0, "args": [1, 2]}, "too many positional arguments"),
        ({"every": 5.0, "args": [...]}, "argument 'older_than' cannot be stored"),
    ],
    ids=str,
)
def test_a_schedule_that_cannot_be_is_refused_when_it_is_made(
    app: Backburner, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(Exception, match=problem):
        app.schedule(app.tasks["clean"], name="wrong", **options)
    assert schedules(app) == []


def test_a_schedule_made_at_run_time_is_stored_at_once(app: Backburner, clock: Clock) -> None:
    app.schedule(app.tasks["clean"], name="minutely", every=60.0, args=[9])
    [found] = schedules(app)
    assert (found.next_at, found.declared) == (MIDNIGHT + 60, False)
    clock.advance(60)
    [job] = ticked(app)
    assert (job.task, job.payload, job.queue, job.priority) == ("clean", b"[9]", "night", 4)
    assert app.job(job.id).record.options == Options(tags=("t",))


def test_a_schedule_can_be_deleted(app: Backburner, clock: Clock) -> None:
    app.schedule(app.tasks["clean"], name="minutely", every=60.0)
    assert app.unschedule("minutely")
    assert not app.unschedule("minutely")
    clock.advance(60)
    assert ticked(app) == []


def test_a_cron_expression_is_read_in_its_time_zone(app: Backburner, clock: Clock) -> None:
    app.schedule(app.tasks["clean"], name="nightly", cron="0 3 * * *", tz="Europe/Berlin")
    clock.advance(2 * 3600 - 1)
    assert ticked(app) == []
    clock.advance(1)
    assert len(ticked(app)) == 1


def test_a_schedule_that_cannot_be_read_here_does_not_hide_the_others(
    app: Backburner, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    app.schedule(app.tasks["clean"], name="sound", every=60.0)
    odd = Schedule(name="odd", task="clean", cron="0 3 * * *", tz="Mars/Olympus")
    app.broker.run(app.broker.save_schedule(StoredSchedule(schedule=odd, next_at=MIDNIGHT)))
    clock.advance(60)
    with caplog.at_level(logging.ERROR, "backburner"):
        assert len(ticked(app)) == 1
    assert "schedule odd cannot fire here" in caplog.text


def test_a_tick_leaves_alone_what_is_paused_or_over(app: Backburner, clock: Clock) -> None:
    schedule = Schedule(name="over", task="clean", every=60.0)
    app.broker.run(app.broker.save_schedule(StoredSchedule(schedule=schedule, next_at=None)))
    clock.advance(60)
    assert app.broker.run(tick(app.broker)) == ([], None)


def test_the_first_fire_is_the_next_one_from_now_on() -> None:
    schedule = Schedule(name="s", task="clean", every=60.0)
    assert stored(schedule, MIDNIGHT, declared=True).next_at == MIDNIGHT + 60
    assert stored(schedule, MIDNIGHT + 59.5, declared=True).next_at == MIDNIGHT + 60
