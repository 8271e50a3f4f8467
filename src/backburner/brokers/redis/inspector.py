"""Lookups, operator actions and stored schedules of the Redis broker."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from backburner import lifecycle
from backburner.brokers import flaws
from backburner.brokers.base import (
    Bound,
    Broker,
    Filter,
    OnFull,
    Operation,
    QueueInfo,
    Rate,
    StoredSchedule,
    TaskInfo,
    WorkerInfo,
)
from backburner.brokers.redis.driver import Driver
from backburner.brokers.redis.schema import encode, lives, new_jobs, pairs, record
from backburner.brokers.redis.steps import Do
from backburner.brokers.redis.wake import Wakes
from backburner.job import JobRecord
from backburner.lifecycle import Attempt, State

if TYPE_CHECKING:
    from backburner.doctor import Check

SLICE = 500
"""Jobs that one script looks at: the server does nothing else meanwhile, for a millisecond or two."""
MANY = 2000
"""Jobs that one script changes at most."""
_bound = msgspec.msgpack.Decoder(tuple[int, OnFull])
_worker = msgspec.msgpack.Decoder(tuple[str, float, float, float])
_schedule = msgspec.msgpack.Decoder(tuple[str, float | None, str | None, bool, bool])


class RedisInspector(Broker):
    """The half of the Redis broker that people look through."""

    _driver: Driver
    _wakes: Wakes

    def checkup(self, queues: Collection[str] = ()) -> list[Check]:
        from backburner.brokers.redis.doctor import checkup

        return checkup(self._driver)

    def get(self, ids: Sequence[str]) -> Operation[list[JobRecord]]:
        rows = []
        for first in range(0, len(ids), SLICE):
            rows += yield Do("get", ids[first : first + SLICE])
        return [*map(record, rows)]

    def history(self, job_id: str) -> Operation[list[Attempt]]:
        return [*map(flaws.attempt, (yield Do("history", (job_id,))))]

    def find(self, which: Filter) -> Operation[list[JobRecord]]:
        # The text of a tag is looked for among the options as they are, and what was found is read here.
        tag = None if which.tag is None else msgspec.json.encode(which.tag).decode()
        fixed = (which.states, which.queue, which.task, which.error, tag, which.before)
        found: list[JobRecord] = []
        at: float | None = None
        limit = which.limit
        if which.states or which.queue is not None or which.task is not None:
            # The counts say how many there are: behind the last of them nothing needs to be looked at.
            limit = min(limit, _matching((yield Do("queues"))[0], which))
        while len(found) < limit:
            given = (*fixed, at, SLICE, min(SLICE, limit - len(found)))
            next_at, rows = yield Do("find", given)
            found += [job for job in map(record, rows) if which.tag is None or which.tag in job.options.tags]
            if next_at is None:
                break
            at = float(next_at)
        return found

    def cancel(self, ids: Sequence[str], reason: str, keep: float) -> Operation[list[str]]:
        return (yield from _in_parts(ids, lambda part: Do("cancel", (part, reason, keep))))

    def revive(self, ids: Sequence[str]) -> Operation[list[str]]:
        return (yield from _in_parts(ids, lambda part: Do("revive", part)))

    def delete(self, ids: Sequence[str]) -> Operation[list[str]]:
        return (yield from _in_parts(ids, lambda part: Do("delete", part)))

    def adopt(self, jobs: Sequence[JobRecord], histories: Mapping[str, Sequence[Attempt]]) -> Operation[int]:
        blobs: list[bytes] = []
        given = (new_jobs(jobs, blobs), lives(jobs, histories, blobs))
        count: int = yield Do("adopt", given, blobs)
        return count

    def identity(self) -> Operation[str]:
        name: bytes = yield Do("identity", (secrets.token_hex(16),))
        return name.decode()

    def queues(self) -> Operation[list[QueueInfo]]:
        counts, paused, bounds, oldest = yield Do("queues")
        found: dict[str, QueueInfo] = {}

        def info(name: bytes) -> QueueInfo:
            text = name.decode(errors="replace")
            return found.setdefault(text, QueueInfo(name=text, counts={}))

        for field, count in pairs(counts):
            state, queue, _ = field.split(b"\0", 2)
            states = info(queue).counts
            states[state.decode()] = states.get(state.decode(), 0) + int(count)
        for name in paused:
            info(name).paused = True
        for name, bound in pairs(bounds):
            info(name).max_length, info(name).on_full = _bound.decode(bound)
        for name, at in pairs(oldest):
            info(name).oldest = None if at is None else float(at)
        return [found[name] for name in sorted(found)]

    def tasks(self) -> Operation[list[TaskInfo]]:
        counts, _, _, _ = yield Do("queues")
        found: dict[str, TaskInfo] = {}
        waiting: dict[str, set[str]] = {}
        for field, count in pairs(counts):
            state, queue, name = field.decode(errors="replace").split("\0", 2)
            states = found.setdefault(name, TaskInfo(name=name, counts={})).counts
            states[state] = states.get(state, 0) + int(count)
            if state == State.QUEUED:
                waiting.setdefault(queue, set()).add(name)
        for queue, names in waiting.items():
            yield from self._longest_waiting(queue, names, found)
        return [found[name] for name in sorted(found)]

    def _longest_waiting(self, queue: str, names: set[str], found: dict[str, TaskInfo]) -> Operation[None]:
        """Note since when the first job of each of these tasks waits: mostly they are near the front."""
        for priority in (yield Do("priorities", (queue,))):
            missing, looked = set(names), 0
            while missing:
                firsts, count = yield Do("tasks", (queue, int(priority), looked, SLICE))
                looked += count
                for task, at in pairs(firsts):
                    info = found.get(task.decode())
                    if info is not None and task.decode() in missing:
                        missing.discard(info.name)
                        info.oldest = min(float(at), info.oldest if info.oldest is not None else float(at))
                if count < SLICE:
                    break

    def set_queue(
        self, name: str, *, paused: bool | None = None, bound: Bound | None = None
    ) -> Operation[None]:
        blobs = [] if bound is None else [encode((bound.max_length, bound.on_full))]
        yield Do("set_queue", (name, paused, len(blobs) or None), blobs)

    def workers(self) -> Operation[list[WorkerInfo]]:
        found = [
            _worker_info(name.decode(errors="replace"), stored)
            for name, stored in pairs((yield Do("workers")))
        ]
        return sorted(found, key=lambda info: (info.started_at, info.id))

    def rates(self, seconds: float) -> Operation[list[Rate]]:
        now = self.now()
        found: dict[tuple[str, ...], list[float]] = {}
        for minute in (yield Do("rates_since", (int((now - seconds) // 60), int(now // 60) + 1))):
            for field, number in pairs(minute):
                kind, *key = field.decode().split("\0")
                found.setdefault(tuple(key), [0.0, 0.0])[kind == "s"] += float(number)
        return [
            Rate(queue, task, outcome, int(count), total)
            for (queue, task, outcome), (count, total) in sorted(found.items())
        ]

    def ahead(self, job: JobRecord, limit: int) -> Operation[int]:
        count: int = yield Do("ahead", (job.id, limit))
        return count

    # Periodic tasks ----------------------------------------------------------------------------------

    def schedules(self) -> Operation[list[StoredSchedule]]:
        return [
            flaws.schedule(name.decode(errors="replace"), *_where(stored))
            for name, stored in sorted(pairs((yield Do("schedules"))))
        ]

    def save_schedule(self, stored: StoredSchedule) -> Operation[None]:
        given = (stored.schedule.name, 1, stored.next_at, stored.declared)
        yield Do("save_schedule", given, [msgspec.json.encode(stored.schedule)])

    def pause_schedule(self, name: str, paused: bool) -> Operation[bool]:
        return bool((yield Do("pause_schedule", (name, paused))))

    def delete_schedule(self, name: str) -> Operation[bool]:
        return bool((yield Do("delete_schedule", (name,))))

    def advance_schedule(
        self, name: str, seen: float, next_at: float | None, jobs: Sequence[JobRecord]
    ) -> Operation[bool]:
        last, blobs = jobs[-1].id if jobs else None, list[bytes]()
        moved, *now = yield Do("advance_schedule", (name, seen, next_at, last, new_jobs(jobs, blobs)), blobs)
        if moved:
            for job in jobs:
                lifecycle.entered(job, float(now[0]))
        return bool(moved)

    def after_fork(self) -> None:
        self._wakes.after_fork()


def _worker_info(name: str, stored: bytes) -> WorkerInfo:
    try:
        beat, *times = _worker.decode(stored)
    except flaws.DAMAGE:
        beat, times = "", [0.0, 0.0, 0.0]
    return WorkerInfo(
        id=name, beat=flaws.beat(beat, name), started_at=times[0], seen_at=times[1], lease_until=times[2]
    )


def _where(stored: bytes) -> tuple[str, float | None, str | None, bool, bool]:
    """A schedule, and where it stands."""
    try:
        return _schedule.decode(stored)
    except flaws.DAMAGE:
        return "", None, None, True, False


def _matching(counts: Sequence[bytes], which: Filter) -> int:
    """How many jobs are in the states, in the queue and of the task of a filter."""
    total = 0
    for field, count in pairs(counts):
        state, queue, task = field.decode(errors="replace").split("\0", 2)
        if (
            (not which.states or state in which.states)
            and which.queue in (None, queue)
            and which.task in (None, task)
        ):
            total += int(count)
    return total


def _in_parts(ids: Sequence[str], step: Callable[[Sequence[str]], Do]) -> Operation[list[str]]:
    """So many jobs in one script that the server can do something else in between."""
    ids, touched = list(dict.fromkeys(ids)), list[str]()
    for first in range(0, len(ids), MANY):
        touched += [job_id.decode() for job_id in (yield step(ids[first : first + MANY]))]
    return touched
