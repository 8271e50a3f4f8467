"""The PostgreSQL broker: one schema of a database, any number of machines.

An operation yields the steps of `steps.py`, each a statement of `queries.sql`; what writes is a function of
`migrations/`. `database.py` performs them, `own.py` in a caller's transaction, `schema.py` reads rows as
records, `inspector.py` has the operations for people, `wake.py` wakes who waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import msgspec

from backburner import lifecycle
from backburner.brokers.base import (
    Beat,
    Bound,
    Capability,
    Claim,
    Directives,
    Exchange,
    Operation,
    Pruned,
    Staged,
    Waiter,
)
from backburner.brokers.postgres import own, schema
from backburner.brokers.postgres.address import parsed
from backburner.brokers.postgres.database import Database
from backburner.brokers.postgres.inspector import PostgresInspector
from backburner.brokers.postgres.rows import new_rows, settlement_rows
from backburner.brokers.postgres.steps import Do, DoFresh
from backburner.brokers.postgres.wake import Wakes
from backburner.job import FRESH, JobRecord
from backburner.lifecycle import Settlement

T = TypeVar("T")


class PostgresBroker(PostgresInspector):
    """`postgresql://user:password@host:port/database`, with libpq's parameters and our own: `schema`
    (backburner), `patience` (seconds, 10), `listen` (a URL past a pooler).
    """

    capabilities = frozenset(Capability)

    def __init__(self, url: str, clock: Callable[[], float] | None = None) -> None:
        self.url = url
        address = parsed(url)
        self._database = Database(address, clock)
        self.clock = self._database.clock
        self._wakes = Wakes(self._database)
        self._own = own.Own(address)

    # Performing operations ---------------------------------------------------------------------------

    def run(self, operation: Operation[T]) -> T:
        return self._database.run(operation)

    def arun(self, operation: Operation[T]) -> Awaitable[T]:
        return self._database.arun(operation)

    def run_on(self, connection: Any, operation: Operation[T]) -> T:
        return self._own.run_on(connection, operation)

    async def arun_on(self, connection: Any, operation: Operation[T]) -> T:
        return await self._own.arun_on(connection, operation)

    def now(self) -> float:
        return self.clock()

    def waiter(self, topics: Sequence[str]) -> AbstractContextManager[Waiter]:
        return self._wakes.listen(topics)

    def close(self) -> None:
        self._wakes.close()
        self._database.close()

    def migrate(self) -> list[str]:
        return self._database.migrate()

    # The life of a job -------------------------------------------------------------------------------

    def enqueue(self, jobs: Sequence[JobRecord], bounds: Mapping[str, Bound]) -> Operation[list[JobRecord]]:
        if not jobs:
            return []
        if _are_fresh(jobs, bounds):
            for job in jobs:
                job.locator = 0  # from now on it may be there
            for (at,) in (yield DoFresh(jobs, self.clock.moment)) or ():
                return [lifecycle.entered(job, at) for job in jobs]
        given = {"moment": self.clock.moment, "jobs": msgspec.json.encode(new_rows(jobs)).decode()}
        bounded = [bounds[queue] for queue in {job.queue for job in jobs} if queue in bounds]
        if bounded:
            given["bounds"] = msgspec.json.encode([_bound(bound) for bound in bounded]).decode()
            answers = yield Do("enqueue_bounded", given)
        else:
            answers = yield Do("enqueue", given)
        moment = answers[0][1]
        if answers[0][0] == -1:
            queue, held, excess, drained = msgspec.json.decode(answers[0][2])
            raise bounds[queue].full(held, excess, drained, moment)
        there = {row[0]: row[3:] for row in answers if row[0] is not None}
        stored = []
        for place, job in enumerate(jobs):
            if place not in there:
                stored.append(lifecycle.entered(job, moment))
            elif there[place][0] is None:  # the holder of its key was deleted just now
                stored += yield from self.enqueue([job], bounds)
            else:
                stored.append(schema.record(there[place]))
        return stored

    def exchange(self, settlements: Sequence[Settlement], claim: Claim | None) -> Operation[Exchange]:
        ended, others, twice = settlement_rows(settlements)
        given = {
            "moment": self.clock.moment,
            "ended": ended,
            "others": others,
            "worker": claim and claim.worker,
            "queues": claim and [*claim.queues],
            "limit": claim and claim.limit,
            "exclude": [*claim.exclude] if claim and claim.exclude else None,
        }
        rows = yield Do("exchange", given, again=False)
        undone = dict.fromkeys(twice) | {row[22]: row[5] for row in rows if row[0] is None}
        jobs = [schema.record(row) for row in rows if row[0] is not None]
        if jobs:
            self.clock.saw(jobs[-1].started_at or 0.0)
        if not undone:
            return Exchange(jobs, [])
        locked = [settlements[n].job.id for n in undone if undone[n] == "locked"]
        return Exchange(jobs, [settlements[n].job.id for n in sorted(undone) if undone[n] is None], locked)

    def held(self, worker: str) -> Operation[list[JobRecord]]:
        return [schema.record(row) for row in (yield Do("held", {"worker": worker}))]

    def complete(self, settlement: Settlement) -> Operation[None]:
        ended, others, _ = settlement_rows([settlement])
        yield Do("complete", {"moment": self.clock.moment, "ended": ended, "others": others}, again=False)

    def heartbeat(self, beats: Sequence[Beat]) -> Operation[Directives]:
        rows = [{**_timing(beat), "beat": msgspec.json.encode(beat).decode()} for beat in beats]
        given = {"moment": self.clock.moment, "beats": msgspec.json.encode(rows).decode()}
        cancel: dict[str, str] = {}
        lost: list[str] = []
        for kind, name, reason, now in (yield Do("heartbeat", given)):
            if kind == "now":
                self.clock.saw(now)
            elif kind == "lost":
                lost.append(name)
            else:
                cancel[name] = reason
        return Directives(cancel, lost)

    def stage(self, limit: int) -> Operation[Staged]:
        [row] = yield Do("stage", {"moment": self.clock.moment, "limit": limit})
        return Staged(*row)

    def orphans(self, limit: int, workers: Collection[str] | None) -> Operation[list[JobRecord]]:
        which, asked = (None, self.now()) if workers is None else ([*workers], None)
        given = {"moment": self.clock.moment, "asked": asked, "limit": limit, "workers": which}
        rows = yield Do("orphans", given)
        return [schema.record(row) for row in rows]

    def prune(self, limit: int, max_dead: int) -> Operation[Pruned]:
        moment = self.clock.moment
        # Apart from the rest: it waits for locks, and nobody shall wait for its own meanwhile.
        [(deleted,)] = yield Do("prune_slot", {"moment": moment})
        rows = yield Do("prune", {"moment": moment, "limit": limit, "max_dead": max_dead})
        trimmed = {queue: count for queue, _, count in rows[1:] if count}
        return Pruned(deleted + rows[0][2], trimmed, {queue: dead for queue, dead, _ in rows[1:]})

    def note(self, job: JobRecord, progress: bytes | None, checkpoint: bytes | None) -> Operation[bool]:
        given = {
            "id": job.id,
            "token": job.token,
            "progress": None if progress is None else progress.decode(),
            "checkpoint": None if checkpoint is None else checkpoint.decode(),
        }
        return bool((yield Do("note", given)))


def _are_fresh(jobs: Sequence[JobRecord], bounds: Mapping[str, Bound]) -> bool:
    """Whether `enqueue_fresh` can store them."""
    return all(
        job.locator == FRESH and job.key is None and not job.run_at and job.queue not in bounds
        for job in jobs
    )


def _timing(beat: Beat) -> dict[str, Any]:
    return {"worker": beat.worker, "lease": beat.lease, "new": beat.new}


def _bound(bound: Bound) -> dict[str, Any]:
    return {
        "queue": bound.queue,
        "max_length": bound.max_length,
        "drops": bound.on_full == "drop_oldest",
        "keep": bound.keep,
    }
