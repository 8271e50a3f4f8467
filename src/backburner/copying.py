"""Moving what waits and what is dead from one broker to another, as in `backburner copy FROM_URL TO_URL`.

1. Every queue of the source is paused, so that no worker there claims a job that is on its way.
2. The ids of what waits or is dead are listed, oldest first.
3. Batch by batch: each job is stored in the target as it is, with its history; what the target has now is
   deleted at the source. In this order a crash between the two leaves a job in both, at the source in a queue
   that stays paused: the next run finds it in the target, and deletes it at the source. So nothing is
   lost or done twice, and it is safe to repeat.
4. Periodic tasks that were made at run time move, too. Those of the code are stored by the next worker.
5. The queues of the source go on again, but for those that were paused before. What runs there stays, and so
   does what was enqueued meanwhile.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

import msgspec

from backburner.brokers.base import Beat, Broker, Capability, Filter
from backburner.brokers.flaws import UNREADABLE
from backburner.errors import ConfigError
from backburner.job import FORMAT
from backburner.lifecycle import State

BATCH = 200
"""Jobs that travel together: at the largest payload of 64 KiB they are 13 MB."""
PAGE = 1000
STATES = (State.SCHEDULED, State.QUEUED, State.RETRYING, State.DEAD)

Progress = Callable[[int, int], None]
"""Told how many jobs are done, of how many."""


class Copied(msgspec.Struct):
    """What `copy` did."""

    moved: int = 0
    kept: list[str] = []
    """Jobs that stay, because the target has another job with their idempotency key."""
    unreadable: list[str] = []
    """Jobs that stay, because this version cannot read all of what is stored of them."""
    running: int = 0
    """Jobs that run at the source, and stay there."""
    schedules: int = 0
    paused: list[str] = []
    """Queues of the source that had been paused before, and still are."""


def copy(source: Broker, target: Broker, progress: Progress | None = None) -> Copied:
    """Move everything that waits or is dead.

    Raises `ConfigError` for one broker given twice, `NotSupported` for one that cannot find its jobs.
    """
    for broker in (source, target):
        broker.require(Capability.LOOKUP, Capability.UNIQUE)
    if _are_one(source, target):
        raise ConfigError("both URLs name the same broker: there is nothing to move")
    infos = source.run(source.queues())
    going = [info.name for info in infos if not info.paused]
    copied = Copied(
        running=sum(info.counts.get(State.RUNNING, 0) for info in infos),
        paused=[info.name for info in infos if info.paused],
    )
    for name in going:
        source.run(source.set_queue(name, paused=True))
    ids = _oldest_first(source)
    for start in range(0, len(ids), BATCH):
        _move(source, target, ids[start : start + BATCH], copied)
        if progress is not None:
            progress(min(start + BATCH, len(ids)), len(ids))
    _move_schedules(source, target, copied)
    for name in going:
        source.run(source.set_queue(name, paused=False))
    return copied


def _are_one(source: Broker, target: Broker) -> bool:
    """Whether what is written in one is read in the other: two URLs can name one broker.

    Each job would be found in the target, and be deleted.
    """
    mark = Beat(worker=f"copy-{secrets.token_hex(8)}", lease=60.0, new=True)
    source.run(source.heartbeat([mark]))
    try:
        return mark.worker in {each.id for each in target.run(target.workers())}
    finally:
        source.run(source.heartbeat([msgspec.structs.replace(mark, lease=0.0)]))
        source.run(source.orphans(0, [mark.worker]))


def _oldest_first(source: Broker) -> list[str]:
    which = Filter(states=STATES, limit=PAGE)
    found: list[str] = []
    while page := source.run(source.find(which)):
        found += [job.id for job in page]
        which = msgspec.structs.replace(which, before=found[-1])
    return found[::-1]


def _move(source: Broker, target: Broker, ids: Sequence[str], copied: Copied) -> None:
    by_id = {job.id: job for job in source.run(source.get(ids)) if job.state in STATES}
    unreadable = {job.id for job in by_id.values() if job.flaw or job.options.format > FORMAT}
    copied.unreadable += unreadable
    # The order of those that share a time.
    jobs = [by_id[job_id] for job_id in ids if job_id in by_id and job_id not in unreadable]
    # Only a job that was claimed has a history.
    histories = {job.id: source.run(source.history(job.id)) for job in jobs if job.token}
    target.run(target.adopt(jobs, histories))
    arrived = {job.id for job in target.run(target.get([job.id for job in jobs]))}
    copied.moved += len(source.run(source.delete([job.id for job in jobs if job.id in arrived])))
    copied.kept += [job.id for job in jobs if job.id not in arrived]


def _move_schedules(source: Broker, target: Broker, copied: Copied) -> None:
    known = {each.schedule.name for each in target.run(target.schedules())}
    for each in source.run(source.schedules()):
        name = each.schedule.name
        if not each.declared and each.schedule.task != UNREADABLE:
            if name not in known:
                target.run(target.save_schedule(each))
                target.run(target.pause_schedule(name, each.paused))
            source.run(source.delete_schedule(name))
            copied.schedules += 1
