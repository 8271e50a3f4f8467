"""What `backburner doctor` says of the jobs, the workers and the schedules. Pure.

The broker checks itself (`Broker.checkup`); this judges what is stored in it, one check a question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

from backburner.brokers.base import QueueInfo, StoredSchedule, WorkerInfo
from backburner.settings import Settings
from backburner.words import plural, span

NEAR = 0.8
"""The part of `max_dead` from which on the dead letters of a queue count as near their limit."""
SKEW = 5.0
"""Seconds by which a worker may seem to be in the future."""
LATE = 60.0
"""Seconds by which a schedule may be late, beyond its own grace."""


class Level(StrEnum):
    """How bad it is: `fail` means that jobs do not run, or may be lost; `warn` that somebody should look."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at, and what to do about it."""

    level: Level
    text: str
    next_step: str | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored. `now` is the broker's clock, `here` that of this machine."""

    now: float
    here: float
    queues: Sequence[QueueInfo]
    workers: Sequence[WorkerInfo]
    schedules: Sequence[StoredSchedule]
    settings: Settings


def diagnose(facts: Facts) -> list[Check]:
    """Every check, the good ones too."""
    return [
        *_workers(facts),
        *_clock(facts),
        *_queues(facts),
        *_dead(facts),
        *_schedules(facts),
    ]


def _workers(facts: Facts) -> Iterator[Check]:
    live = _live(facts)
    queued, running = (
        sum(info.counts.get(state, 0) for info in facts.queues) for state in ("queued", "running")
    )
    if live:
        taking = [each for each in live if not each.beat.quiet]
        yield Check(Level.OK, f"{plural(len(live), 'worker is', 'workers are')} alive")
        if not taking:
            yield Check(Level.WARN, "none of them takes jobs: they are stopping", "start another worker")
    else:
        yield Check(
            Level.FAIL if queued + running else Level.WARN,
            f"no worker is alive; {plural(queued, 'job waits', 'jobs wait')} and {running:,} were running",
            "backburner worker MODULE:APP",
        )
    silent = [each for each in facts.workers if each not in live]
    if silent:
        yield Check(
            Level.WARN,
            f"{plural(len(silent), 'worker has', 'workers have')} gone without a word, the last "
            f"{span(facts.now - max(each.seen_at for each in silent))} ago",
            "a live worker hands their jobs back; see what ended them (memory, a lost machine)",
        )


def _clock(facts: Facts) -> Iterator[Check]:
    apart = facts.here - facts.now
    ahead = max((each.seen_at - facts.now for each in facts.workers), default=0.0)
    if abs(apart) > SKEW:
        yield Check(
            Level.WARN,
            f"this machine's clock and the broker's are {span(apart)} apart",
            "synchronise them (NTP)",
        )
    elif ahead > SKEW:
        yield Check(
            Level.FAIL,
            f"a worker was seen {span(ahead)} in the future: the clock was set back, so leases last too long",
            "set the clock right (NTP), and restart the workers",
        )
    else:
        yield Check(Level.OK, "the clocks agree")


def _queues(facts: Facts) -> Iterator[Check]:
    served = {name for each in _live(facts) for name in each.beat.queues}
    for info in facts.queues:
        depth = info.counts.get("queued", 0)
        waits = f"queue {info.name!r} has {plural(depth, 'job', 'jobs')} waiting"
        if depth and info.paused:
            yield Check(Level.WARN, f"{waits} and is paused", f"backburner queues resume {info.name}")
        elif depth and served and info.name not in served:
            yield Check(
                Level.FAIL,
                f"{waits} and no live worker serves it",
                f"backburner worker MODULE:APP --queues {info.name}",
            )
        elif info.max_length is not None and depth >= info.max_length:
            yield Check(Level.WARN, f"{waits} and takes no more than {info.max_length:,}", "add workers")


def _dead(facts: Facts) -> Iterator[Check]:
    limit, total = facts.settings.max_dead, 0
    for info in facts.queues:
        count = info.counts.get("dead", 0)
        total += count
        if count >= NEAR * limit:
            yield Check(
                Level.FAIL if count >= limit else Level.WARN,
                f"queue {info.name!r} has {count:,} dead letters; beyond {limit:,} the oldest are deleted",
                f"backburner dead export --queue {info.name} > dead.jsonl, then retry or delete them",
            )
    yield Check(
        Level.OK, plural(total, "dead letter", "dead letters"), "backburner dead list" if total else None
    )


def _schedules(facts: Facts) -> Iterator[Check]:
    live = _live(facts)
    known = {name for each in live for name in each.beat.tasks}
    for each in facts.schedules:
        schedule, name = each.schedule, each.schedule.name
        if each.paused:
            yield Check(Level.WARN, f"schedule {name!r} is paused", f"backburner schedules resume {name}")
            continue
        if live and schedule.task not in known:
            yield Check(
                Level.WARN,
                f"schedule {name!r} fires the task {schedule.task}, which no live worker knows",
                f"deploy its code, or backburner schedules delete {name}",
            )
        late = facts.now - each.next_at - schedule.grace if each.next_at is not None else 0.0
        if live and late > LATE:
            yield Check(
                Level.WARN,
                f"schedule {name!r} should have fired {span(late + schedule.grace)} ago",
                "see the workers' logs: no worker can read it, or none does its rounds",
            )
        if each.next_at is None:
            yield Check(
                Level.WARN, f"schedule {name!r} never fires again", f"backburner schedules delete {name}"
            )


def _live(facts: Facts) -> list[WorkerInfo]:
    return [each for each in facts.workers if each.lease_until > facts.now]
