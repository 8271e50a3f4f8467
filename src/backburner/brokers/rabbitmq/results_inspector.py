"""Lookups, operator actions and stored schedules with a results store: all of it is the store's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from backburner.brokers.base import (
    Bound,
    Filter,
    Operation,
    QueueInfo,
    Rate,
    StoredSchedule,
    TaskInfo,
    WorkerInfo,
)
from backburner.brokers.rabbitmq.copier import Copier
from backburner.brokers.rabbitmq.results_steps import InStore, alone, in_store
from backburner.brokers.rabbitmq.steps import Examine
from backburner.job import JobRecord
from backburner.lifecycle import Attempt

if TYPE_CHECKING:
    from backburner.doctor import Check


class ResultsInspector(Copier):
    """The half that people look through. What makes jobs wait is copied."""

    def exists(self) -> bool:
        return self.results.exists()

    def migrate(self) -> list[str]:
        return self.results.migrate()

    def checkup(self, queues: Collection[str] = ()) -> list[Check]:
        transport: list[Check] = self.run(alone(Examine(queues)))
        return [*transport, *self.results.checkup(queues)]

    def get(self, ids: Sequence[str]) -> Operation[list[JobRecord]]:
        return in_store(self.results.get(ids))

    def history(self, job_id: str) -> Operation[list[Attempt]]:
        return in_store(self.results.history(job_id))

    def find(self, which: Filter) -> Operation[list[JobRecord]]:
        return in_store(self.results.find(which))

    def cancel(self, ids: Sequence[str], reason: str, keep: float) -> Operation[list[str]]:
        return in_store(self.results.cancel(ids, reason, keep))

    def revive(self, ids: Sequence[str]) -> Operation[list[str]]:
        store = yield from self._known_as()
        revived: list[str] = yield InStore(self.results.revive(ids))
        if revived:
            jobs: list[JobRecord] = yield InStore(self.results.get(revived))
            yield from self._copy_waiting(jobs, store)
        return revived

    def delete(self, ids: Sequence[str]) -> Operation[list[str]]:
        return in_store(self.results.delete(ids))

    def adopt(self, jobs: Sequence[JobRecord], histories: Mapping[str, Sequence[Attempt]]) -> Operation[int]:
        store = yield from self._known_as()
        count: int = yield InStore(self.results.adopt(jobs, histories))
        yield from self._copy_waiting(jobs, store, histories)
        return count

    def identity(self) -> Operation[str]:
        return in_store(self.results.identity())

    def queues(self) -> Operation[list[QueueInfo]]:
        return in_store(self.results.queues())

    def tasks(self) -> Operation[list[TaskInfo]]:
        return in_store(self.results.tasks())

    def set_queue(
        self, name: str, *, paused: bool | None = None, bound: Bound | None = None
    ) -> Operation[None]:
        return in_store(self.results.set_queue(name, paused=paused, bound=bound))

    def workers(self) -> Operation[list[WorkerInfo]]:
        return in_store(self.results.workers())

    def rates(self, seconds: float) -> Operation[list[Rate]]:
        return in_store(self.results.rates(seconds))

    def ahead(self, job: JobRecord, limit: int) -> Operation[int]:
        return in_store(self.results.ahead(job, limit))

    # Periodic tasks ----------------------------------------------------------------------------------

    def schedules(self) -> Operation[list[StoredSchedule]]:
        return in_store(self.results.schedules())

    def save_schedule(self, stored: StoredSchedule) -> Operation[None]:
        return in_store(self.results.save_schedule(stored))

    def pause_schedule(self, name: str, paused: bool) -> Operation[bool]:
        return in_store(self.results.pause_schedule(name, paused))

    def delete_schedule(self, name: str) -> Operation[bool]:
        return in_store(self.results.delete_schedule(name))

    def advance_schedule(
        self, name: str, seen: float, next_at: float | None, jobs: Sequence[JobRecord]
    ) -> Operation[bool]:
        store = (yield from self._known_as()) if jobs else ""
        moved: bool = yield InStore(self.results.advance_schedule(name, seen, next_at, jobs))
        if moved:
            yield from self._copy_new(jobs, store)
        return moved
