"""Lookups, operator actions and stored schedules of the SQLite broker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from backburner.brokers import flaws
from backburner.brokers.base import (
    Bound,
    Broker,
    Filter,
    Operation,
    QueueInfo,
    Rate,
    StoredSchedule,
    TaskInfo,
    WorkerInfo,
)
from backburner.brokers.sqlite import schema
from backburner.brokers.sqlite.steps import Begin, Do, DoMany, Wake
from backburner.job import JobRecord
from backburner.lifecycle import Attempt, State

if TYPE_CHECKING:
    from backburner.doctor import Check


class SqliteInspector(Broker):
    """The half of the SQLite broker that people look through."""

    path: str

    def exists(self) -> bool:
        try:
            return self.path == ":memory:" or bool(Path(self.path).stat())
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True  # something else is wrong with the path: whoever opens it says what

    def checkup(self, queues: Collection[str] = ()) -> list[Check]:
        from backburner.brokers.sqlite.doctor import checkup

        return checkup(self.path)

    def get(self, ids: Sequence[str]) -> Operation[list[JobRecord]]:
        rows = yield Do("get_one", ids) if len(ids) == 1 else Do("get", (_json(ids),))
        return [schema.record(row) for row in rows]

    def history(self, job_id: str) -> Operation[list[Attempt]]:
        rows = yield Do("history", (job_id,))
        return [flaws.attempt(row[0]) for row in rows]

    def find(self, which: Filter) -> Operation[list[JobRecord]]:
        rows = yield Do("find", {**msgspec.structs.asdict(which), "states": _json(which.states)})
        return [schema.record(row) for row in rows]

    def cancel(self, ids: Sequence[str], reason: str, keep: float) -> Operation[list[str]]:
        yield Begin()
        which = {"ids": _json(ids), "reason": reason}
        waiting = yield Do("cancel_waiting", {**which, "now": self.now(), "keep": keep})
        running = yield Do("cancel_running", which)
        yield Wake({f"job:{row[0]}": 1 for row in waiting} | {f"worker:{row[1]}": 1 for row in running})
        return [row[0] for row in (*waiting, *running)]

    def revive(self, ids: Sequence[str]) -> Operation[list[str]]:
        yield Begin()
        rows = yield Do("revive", {"ids": _json(ids), "now": self.now()})
        yield Wake({f"queue:{row[1]}": len(rows) for row in rows})
        return [row[0] for row in rows]

    def delete(self, ids: Sequence[str]) -> Operation[list[str]]:
        yield Begin()
        gone = [row[0] for row in (yield Do("delete", (_json(ids),)))]
        yield Do("prune_attempts", (_json(gone),))
        yield Wake({f"job:{job_id}": 1 for job_id in gone})
        return gone

    def adopt(self, jobs: Sequence[JobRecord], histories: Mapping[str, Sequence[Attempt]]) -> Operation[int]:
        yield Begin()
        new = []
        for job in jobs:
            if (yield DoMany("adopt", [schema.adopted(job)])):
                new.append(job)  # noqa: PERF401 - a comprehension cannot yield
        attempts = [(job.id, attempt) for job in new for attempt in histories.get(job.id, ())]
        yield DoMany(
            "settle_log", [(job_id, each.token, msgspec.json.encode(each)) for job_id, each in attempts]
        )
        yield Wake(Counter(f"queue:{job.queue}" for job in new if job.state is State.QUEUED))
        yield Wake({"stage": 1})
        return len(new)

    def identity(self) -> Operation[str]:
        rows = yield Do("identity")
        if not rows:
            yield Begin()
            yield Do("identity_make")
            rows = yield Do("identity")
        return str(rows[0][0])

    def queues(self) -> Operation[list[QueueInfo]]:
        found: dict[str, QueueInfo] = {}
        for name, paused, max_length, on_full in (yield Do("queues")):
            found[name] = QueueInfo(
                name=name, counts={}, paused=bool(paused), max_length=max_length, on_full=on_full
            )
        for name, state, count in (yield Do("queues_counts")):
            found.setdefault(name, QueueInfo(name=name, counts={})).counts[state] = count
        for name, oldest in (yield Do("queues_oldest")):
            # Each statement sees the latest commit: this queue may be newer than the counts above.
            found.setdefault(name, QueueInfo(name=name, counts={})).oldest = oldest
        return [found[name] for name in sorted(found)]

    def tasks(self) -> Operation[list[TaskInfo]]:
        found: dict[str, TaskInfo] = {}
        for name, state, count, oldest in (yield Do("tasks")):
            info = found.setdefault(name, TaskInfo(name=name, counts={}))
            info.counts[state] = count
            if state == State.QUEUED:
                info.oldest = oldest
        return list(found.values())

    def set_queue(
        self, name: str, *, paused: bool | None = None, bound: Bound | None = None
    ) -> Operation[None]:
        yield Begin()
        if paused is not None:
            yield Do("set_queue_paused", {"name": name, "paused": paused})
            yield Wake({} if paused else {f"queue:{name}": 1000})
        if bound is not None:
            row = {"name": name, "max_length": bound.max_length, "on_full": bound.on_full}
            yield Do("set_queue_bound", row)

    def workers(self) -> Operation[list[WorkerInfo]]:
        rows = yield Do("workers")
        return [
            WorkerInfo(
                id=row[0],
                beat=flaws.beat(row[1], row[0]),
                started_at=row[2],
                seen_at=row[3],
                lease_until=row[4],
            )
            for row in rows
        ]

    def rates(self, seconds: float) -> Operation[list[Rate]]:
        rows = yield Do("rates", (int((self.now() - seconds) // 60),))
        return [Rate(*row) for row in rows]

    def ahead(self, job: JobRecord, limit: int) -> Operation[int]:
        rows = yield Do("ahead", {"id": job.id, "limit": limit})
        return int(rows[0][0])

    # Periodic tasks ----------------------------------------------------------------------------------

    def schedules(self) -> Operation[list[StoredSchedule]]:
        rows = yield Do("schedules")
        return [flaws.schedule(*row) for row in rows]

    def save_schedule(self, stored: StoredSchedule) -> Operation[None]:
        yield Begin()
        schedule = msgspec.json.encode(stored.schedule)
        yield Do("save_schedule", (stored.schedule.name, schedule, stored.next_at, stored.declared))
        yield Wake({"stage": 1})

    def pause_schedule(self, name: str, paused: bool) -> Operation[bool]:
        yield Begin()
        found = bool((yield DoMany("pause_schedule", [{"name": name, "paused": paused}])))
        yield Wake({} if paused else {"stage": 1})
        return found

    def delete_schedule(self, name: str) -> Operation[bool]:
        yield Begin()
        return bool((yield DoMany("delete_schedule", [(name,)])))

    def advance_schedule(
        self, name: str, seen: float, next_at: float | None, jobs: Sequence[JobRecord]
    ) -> Operation[bool]:
        yield Begin()
        row = {"name": name, "seen": seen, "next_at": next_at, "last_job": jobs[-1].id if jobs else None}
        moved = bool((yield DoMany("advance_schedule", [row])))
        if moved and jobs:
            yield from self.enqueue(jobs, {})
        return moved


def _json(values: Sequence[Any]) -> str:
    return msgspec.json.encode(values).decode()
