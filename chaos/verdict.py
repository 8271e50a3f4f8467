"""What was seen and what is stored, brought before the one judge (`tests/oracle.py`), and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from backburner import Backburner, State
from backburner.schedule import Schedule, due
from chaos import tasks
from chaos.sites import Site
from tests.oracle import Accepted, Began, Doubtful, Fired, Observation, Oracle, RolledBack, Settled


class Span(NamedTuple):
    """When the faults began and ended, by the broker's clock."""

    begin: float
    end: float


def fires(schedule: Schedule, span: Span) -> Iterator[Fired]:
    """The jobs that a schedule has to have enqueued meanwhile, none of them left out."""
    every = schedule.every or 0.0
    at = (span.begin // every + 1) * every
    while at <= span.end:
        yield Fired(due(schedule, at, at).fires[0].job_id, schedule.name, at)
        at += every


def judge(site: Site, app: Backburner, seen: list[Observation], span: Span) -> dict[str, Any]:
    """The broken promises with the jobs' stories, and the numbers for `Outcome`."""
    stored, dead = site.stored(app), site.dead(app)
    schedule = tasks.app.declared[tasks.tick.name]
    expected = {each.job: each for each in fires(schedule, span)}
    oracle = Oracle(
        max_attempts=app.settings.retry.max_attempts,
        poison_after=app.settings.poison_after,
        copies=stored is None,
    )
    ticks = {each.id for each in (stored or {}).values() if each.task == schedule.task} - expected.keys()
    for each in (*seen, *site.effects(), *expected.values(), *_others(schedule, ticks)):
        oracle.see(each)
    for key, count in Counter(job.key for job in (stored or {}).values() if job.key).items():
        if count > 1:
            oracle.broke("", f"{count} jobs are stored with the key {key!r}")
    broken = oracle.verdict(stored, {"jobs without an end": site.backlog(app)}, dead=[job.id for job in dead])
    runs = Counter(each.job for each in seen if isinstance(each, Began))
    accepted = {each.job for each in seen if isinstance(each, Accepted)}
    asked = {each.job for each in seen if isinstance(each, Doubtful)}
    rolled_back = {each.job for each in seen if isinstance(each, RolledBack)}
    return {
        "broken": broken,
        "accepted": len(accepted),
        "doubtful": len(asked - accepted - rolled_back),
        "rolled_back": len(rolled_back),
        "fired": len(expected),
        "attempts": runs.total(),
        "ran_again": sum(count > 1 for count in _interrupted(seen).values()),
        "dead": len(dead),
        "poisoned": sum("poison" in (job.reason or "") for job in dead),
        "succeeded": sum(job.state is State.SUCCEEDED for job in stored.values()) if stored else None,
    }


def _others(schedule: Schedule, ids: set[str]) -> Iterator[Fired]:
    """Fires before and after the faults. Their ids begin with the time, in milliseconds."""
    for each in ids:
        at = int(each.replace("-", "")[:12], 16) / 1000
        own = due(schedule, at, at).fires
        if own and own[0].job_id == each:
            yield Fired(each, schedule.name, at)


def _interrupted(seen: list[Observation]) -> Counter[str]:
    """How often each job began without having come to an end, or a retry or a snooze, since it last began."""
    begun = Counter(each.job for each in seen if isinstance(each, Began))
    ended = (each for each in seen if isinstance(each, Settled))
    begun.subtract(each.job for each in ended if each.state in (State.RETRYING, State.SCHEDULED))
    return begun
