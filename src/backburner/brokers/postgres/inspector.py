"""Lookups, operator actions and stored schedules of the PostgreSQL broker."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

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
from backburner.brokers.clock import ServerClock
from backburner.brokers.postgres import schema
from backburner.brokers.postgres.database import Database
from backburner.brokers.postgres.rows import adopted_row, new_rows
from backburner.brokers.postgres.steps import Do
from backburner.errors import BrokerError
from backburner.job import JobRecord
from backburner.lifecycle import Attempt, State

if TYPE_CHECKING:
    from backburner.doctor import Check


class PostgresInspector(Broker):
    """The half of the PostgreSQL broker that people look through."""

    clock: ServerClock
    _database: Database

    def exists(self) -> bool:
        name = self._database.address.schema
        try:
            return self._database.alone(lambda session: schema.version(session, name) > 0)
        except BrokerError:
            return True  # something is wrong there: whoever opens it says what

    def checkup(self, queues: Collection[str] = ()) -> list[Check]:
        from backburner.brokers.postgres.doctor import checkup

        return checkup(self._database.address)

    def get(self, ids: Sequence[str]) -> Operation[list[JobRecord]]:
        return [schema.record(row) for row in (yield Do("get", {"ids": [*ids]}))]

    def history(self, job_id: str) -> Operation[list[Attempt]]:
        rows = yield Do("history", {"id": job_id})
        return [flaws.attempt(row[0]) for row in rows]

    def find(self, which: Filter) -> Operation[list[JobRecord]]:
        given = {**msgspec.structs.asdict(which), "states": [*map(str, which.states)]}
        if which.tag is not None:  # as it stands within the JSON of the options, where `->` refuses U+0000
            given["tag"] = msgspec.json.encode(which.tag).decode().replace(r"\u0000", r"\ufffd")
        return [schema.record(row) for row in (yield Do("find", given))]

    def cancel(self, ids: Sequence[str], reason: str, keep: float) -> Operation[list[str]]:
        given = {"moment": self.clock.moment, "ids": [*ids], "reason": reason, "keep": keep}
        return [row[0] for row in (yield Do("cancel", given))]

    def revive(self, ids: Sequence[str]) -> Operation[list[str]]:
        return [row[0] for row in (yield Do("revive", {"moment": self.clock.moment, "ids": [*ids]}))]

    def delete(self, ids: Sequence[str]) -> Operation[list[str]]:
        return [row[0] for row in (yield Do("delete", {"ids": [*ids]}))]

    def adopt(self, jobs: Sequence[JobRecord], histories: Mapping[str, Sequence[Attempt]]) -> Operation[int]:
        rows = [adopted_row(place, job, histories.get(job.id, ())) for place, job in enumerate(jobs)]
        [(count,)] = yield Do("adopt", {"jobs": msgspec.json.encode(rows).decode()})
        return int(count)

    def identity(self) -> Operation[str]:
        while not (rows := (yield Do("identity", {}))):
            pass
        return str(rows[0][0])

    def queues(self) -> Operation[list[QueueInfo]]:
        found: dict[str, QueueInfo] = {}
        for name, paused, max_length, on_full in (yield Do("queues")):
            found[name] = QueueInfo(
                name=name, counts={}, paused=paused, max_length=max_length, on_full=on_full
            )
        for name, state, count, oldest in (yield Do("queues_counts")):
            info = found.setdefault(name, QueueInfo(name=name, counts={}))
            info.counts[state] = count
            if state == State.QUEUED:
                info.oldest = oldest
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
        if paused is not None:
            yield Do("set_queue_paused", {"name": name, "paused": paused})
        if bound is not None:
            given = {"name": name, "max_length": bound.max_length, "on_full": bound.on_full}
            yield Do("set_queue_bound", given)

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
        rows = yield Do("rates", {"minute": int((self.now() - seconds) // 60)})
        return [Rate(*row) for row in rows]

    def ahead(self, job: JobRecord, limit: int) -> Operation[int]:
        rows = yield Do("ahead", {"id": job.id, "limit": limit})
        return int(rows[0][0])

    # Periodic tasks ----------------------------------------------------------------------------------

    def schedules(self) -> Operation[list[StoredSchedule]]:
        rows = yield Do("schedules")
        return [flaws.schedule(*row) for row in rows]

    def save_schedule(self, stored: StoredSchedule) -> Operation[None]:
        schedule = msgspec.json.encode(stored.schedule).decode()
        given = {"name": stored.schedule.name, "schedule": schedule}
        yield Do("save_schedule", {**given, "next_at": stored.next_at, "declared": stored.declared})

    def pause_schedule(self, name: str, paused: bool) -> Operation[bool]:
        return bool((yield Do("pause_schedule", {"name": name, "paused": paused})))

    def delete_schedule(self, name: str) -> Operation[bool]:
        return bool((yield Do("delete_schedule", {"name": name})))

    def advance_schedule(
        self, name: str, seen: float, next_at: float | None, jobs: Sequence[JobRecord]
    ) -> Operation[bool]:
        given = {
            "moment": self.clock.moment,
            "name": name,
            "seen": seen,
            "next_at": next_at,
            "last_job": jobs[-1].id if jobs else None,
            "jobs": msgspec.json.encode(new_rows(jobs)).decode() if jobs else None,
        }
        [(moved,)] = yield Do("advance_schedule", given)
        return bool(moved)
