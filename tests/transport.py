"""A broker that only moves jobs: SQLite, asked for nothing that its capabilities leave out.

What a server would do by itself it does with each exchange: who claims is known, what is due comes due, and
jobs that went to others are told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backburner.brokers import SCHEMES, Source
from backburner.brokers.base import Beat, Bound, Capability, Claim, Exchange, Operation, StoredSchedule
from backburner.brokers.sqlite.broker import SqliteBroker
from backburner.job import JobRecord
from backburner.lifecycle import Settlement

READS = ("get", "history", "find", "queues", "tasks", "workers", "rates", "ahead")
REFUSED = {
    Capability.LOOKUP: (*READS, "cancel", "revive", "delete", "adopt", "note"),
    Capability.SCHEDULES: ("schedules", "pause_schedule", "delete_schedule"),
    Capability.UPKEEP: ("heartbeat", "stage", "orphans", "prune"),
}


class Transport(SqliteBroker):
    """`transport:///jobs.db`, where its scheme is registered."""

    capabilities = frozenset()

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        super().__init__(url.replace("transport:", "sqlite:", 1), clock)
        self._given: dict[str, str] = {}
        self._known: set[str] = set()

    def run_on(self, connection: Any, operation: Operation[Any]) -> Any:
        operation.close()
        raise self.unsupported(Capability.TRANSACTIONS)

    def enqueue(self, jobs: Sequence[JobRecord], bounds: Mapping[str, Bound]) -> Operation[list[JobRecord]]:
        self._check(jobs, bounds)
        return super().enqueue(jobs, bounds)

    def exchange(self, settlements: Sequence[Settlement], claim: Claim | None) -> Operation[Exchange]:
        if claim is not None and claim.worker not in self._known:
            self._known.add(claim.worker)
            yield from super().heartbeat([Beat(worker=claim.worker, lease=3600.0, new=True)])
        yield from super().stage(1000)
        found = yield from super().exchange(settlements, claim)
        for each in settlements:
            self._given.pop(each.job.id, None)
        taken = yield from self._taken()
        if claim is not None:
            self._given |= {job.id: claim.worker for job in found.jobs}
        return Exchange(found.jobs, [*found.lost, *taken])

    def _taken(self) -> Operation[list[str]]:
        held = set[str]()
        for worker in set(self._given.values()):
            held |= {job.id for job in (yield from super().held(worker))}
        gone = [job_id for job_id in self._given if job_id not in held]
        for job_id in gone:
            del self._given[job_id]
        return gone

    def set_queue(
        self, name: str, *, paused: bool | None = None, bound: Bound | None = None
    ) -> Operation[None]:
        self._check((), {name: bound} if bound else {})
        return super().set_queue(name, paused=paused)

    def firing(self) -> Operation[list[StoredSchedule]]:
        return super().schedules()

    def save_schedule(self, stored: StoredSchedule) -> Operation[None]:
        if not stored.declared:
            raise self.unsupported(Capability.SCHEDULES)
        return super().save_schedule(stored)

    def _check(self, jobs: Sequence[JobRecord], bounds: Mapping[str, Bound]) -> None:
        if bounds:
            raise self.unsupported(Capability.BOUNDED)
        if any(job.key for job in jobs):
            raise self.unsupported(Capability.UNIQUE)


def refusing(capability: Capability) -> Callable[..., Any]:
    def refuse(broker: Transport, *_: Any, **__: Any) -> Any:
        raise broker.unsupported(capability)

    return refuse


for missing, names in REFUSED.items():
    for name in names:
        setattr(Transport, name, refusing(missing))

SOURCE = Source(__name__, "Transport", "Transport")


def register() -> None:
    """For a program of its own."""
    SCHEMES["transport"] = SOURCE
