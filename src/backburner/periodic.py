"""Periodic tasks: how they are declared, and the tick that any worker may do.

1. A declaration becomes a `Schedule`. A worker stores it when it starts; one made at run time at once.
2. A tick looks for schedules whose next fire has come. `schedule.due` decides what to enqueue.
3. The schedule moves to its next fire, unless another worker has moved it already, and the jobs are
   enqueued with it. Their ids are made from schedule and fire time, so that no fire is stored twice.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from backburner.brokers.base import Broker, Operation, StoredSchedule
from backburner.errors import ConfigError
from backburner.job import JobRecord
from backburner.lifecycle import FINAL
from backburner.schedule import Due, Missed, Overlap, Schedule, due, next_fire, validated

if TYPE_CHECKING:
    from backburner.task import Task

logger = logging.getLogger("backburner")


class PeriodicOptions(TypedDict, total=False):
    """Options of a periodic task; see `Schedule`."""

    name: str
    args: Sequence[Any]
    tz: str
    anchor: float
    missed: Missed
    missed_cap: int
    overlap: Overlap
    jitter: float
    grace: float


class Ticked(NamedTuple):
    """What `tick` did."""

    jobs: list[JobRecord]
    next_at: float | None


def scheduled(task: Task[..., Any], options: Mapping[str, Any]) -> Schedule:
    """The schedule of a periodic task. Raises `ConfigError`."""
    known = (*PeriodicOptions.__annotations__, "cron", "every")
    for option in options:
        if option not in known:
            raise ConfigError.unknown("option of a periodic task", option, known)
    given = dict(options)
    job = task.prepare(given.pop("args", ()), {})
    name = given.pop("name", task.name)
    return validated(
        Schedule(
            name=name,
            task=task.name,
            payload=job.payload,
            queue=job.queue,
            priority=job.priority,
            options=job.options,
            **given,
        )
    )


def stored(schedule: Schedule, now: float, *, declared: bool) -> StoredSchedule:
    """A schedule as it is first stored: it fires next after `now`."""
    return StoredSchedule(schedule=schedule, next_at=next_fire(schedule, now), declared=declared)


def tick(broker: Broker) -> Operation[Ticked]:
    """Enqueue what every due schedule says, and move each to its next fire."""
    enqueued: list[JobRecord] = []
    next_times: list[float] = []
    now = broker.now()
    for each in (yield from broker.firing()):
        if each.paused or each.next_at is None:
            continue
        if each.next_at > now:
            next_times.append(each.next_at)
            continue
        busy = each.schedule.overlap == "skip" and (yield from _unfinished(broker, each.last_job))
        try:
            found = due(each.schedule, each.next_at, now, busy=busy)
        except ConfigError:
            logger.exception("schedule %s cannot fire here", each.schedule.name)
            continue
        jobs = _jobs(each.schedule, found)
        if (yield from broker.advance_schedule(each.schedule.name, each.next_at, found.next_at, jobs)):
            enqueued += jobs
        if found.next_at is not None:
            next_times.append(found.next_at)
    return Ticked(enqueued, min(next_times, default=None))


def _unfinished(broker: Broker, job_id: str | None) -> Operation[bool]:
    found = (yield from broker.get([job_id])) if job_id else []
    return any(job.state not in FINAL for job in found)


def _jobs(schedule: Schedule, found: Due) -> list[JobRecord]:
    return [
        JobRecord(
            id=fire.job_id,
            task=schedule.task,
            payload=schedule.payload,
            queue=schedule.queue,
            priority=schedule.priority,
            run_at=fire.run_at,
            options=schedule.options,
        )
        for fire in found.fires
    ]
