"""What people ask of RabbitMQ alone: pausing works; most else needs a results store, and says so."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from backburner.brokers.base import (
    Beat,
    Bound,
    Broker,
    Capability,
    Directives,
    Filter,
    Operation,
    Pruned,
    QueueInfo,
    Rate,
    Staged,
    StoredSchedule,
    TaskInfo,
    WorkerInfo,
)
from backburner.brokers.rabbitmq.steps import Advance, Announce, Examine, Firing, SetPaused, WithDeadLetters
from backburner.job import JobRecord
from backburner.lifecycle import Attempt, entered

if TYPE_CHECKING:
    from backburner.doctor import Check


class RabbitInspector(Broker):
    """Pausing and periodic tasks; what a transport cannot do raises `NotSupported`."""

    def advice(self, capability: Capability) -> str:
        if capability is Capability.TRANSACTIONS:
            return super().advice(capability)
        return 'add a results store, as in Backburner("amqp://…", results="redis://localhost")'

    def checkup(self, queues: Collection[str] = ()) -> list[Check]:
        return self.run(self._checkup(queues))

    def _checkup(self, queues: Collection[str]) -> Operation[list[Check]]:
        found: list[Check] = yield Examine(queues)
        return found

    # What the server does by itself ------------------------------------------------------------------

    def heartbeat(self, beats: Sequence[Beat]) -> Operation[Directives]:
        """Nothing: the connection is the sign of life."""
        yield from ()
        return Directives({}, [])

    def stage(self, limit: int) -> Operation[Staged]:
        raise self.unsupported(Capability.UPKEEP)

    def orphans(self, limit: int, workers: Collection[str] | None) -> Operation[list[JobRecord]]:
        raise self.unsupported(Capability.UPKEEP)

    def prune(self, limit: int, max_dead: int) -> Operation[Pruned]:
        raise self.unsupported(Capability.UPKEEP)

    def workers(self) -> Operation[list[WorkerInfo]]:
        raise self.unsupported(Capability.UPKEEP)

    # What needs a results store ----------------------------------------------------------------------

    def note(self, job: JobRecord, progress: bytes | None, checkpoint: bytes | None) -> Operation[bool]:
        raise self.unsupported(Capability.LOOKUP)

    def cancel(self, ids: Sequence[str], reason: str, keep: float) -> Operation[list[str]]:
        raise self.unsupported(Capability.LOOKUP)

    def adopt(self, jobs: Sequence[JobRecord], histories: Mapping[str, Sequence[Attempt]]) -> Operation[int]:
        raise self.unsupported(Capability.UNIQUE)

    def queues(self) -> Operation[list[QueueInfo]]:
        raise self.unsupported(Capability.LOOKUP)

    def tasks(self) -> Operation[list[TaskInfo]]:
        raise self.unsupported(Capability.LOOKUP)

    def rates(self, seconds: float) -> Operation[list[Rate]]:
        raise self.unsupported(Capability.LOOKUP)

    def ahead(self, job: JobRecord, limit: int) -> Operation[int]:
        raise self.unsupported(Capability.LOOKUP)

    # Dead letters, of one queue at a time ------------------------------------------------------------

    def find(self, which: Filter) -> Operation[list[JobRecord]]:
        found: list[JobRecord] = yield WithDeadLetters(lambda letters: letters.find(which))
        return found

    def get(self, ids: Sequence[str]) -> Operation[list[JobRecord]]:
        found: list[JobRecord] = yield WithDeadLetters(lambda letters: letters.get(ids))
        return found

    def history(self, job_id: str) -> Operation[list[Attempt]]:
        lines: list[Attempt] = yield WithDeadLetters(lambda letters: letters.history(job_id))
        return lines

    def revive(self, ids: Sequence[str]) -> Operation[list[str]]:
        done: list[str] = yield WithDeadLetters(lambda letters: letters.revive(ids))
        return done

    def delete(self, ids: Sequence[str]) -> Operation[list[str]]:
        done: list[str] = yield WithDeadLetters(lambda letters: letters.delete(ids))
        return done

    # Queues ------------------------------------------------------------------------------------------

    def set_queue(
        self, name: str, *, paused: bool | None = None, bound: Bound | None = None
    ) -> Operation[None]:
        if bound is not None:
            raise self.unsupported(Capability.BOUNDED)
        if paused is not None:
            yield SetPaused(name, paused)

    # Periodic tasks ----------------------------------------------------------------------------------

    def schedules(self) -> Operation[list[StoredSchedule]]:
        raise self.unsupported(Capability.SCHEDULES)

    def firing(self) -> Operation[list[StoredSchedule]]:
        """Those that RabbitMQ has given to this process, and to no other."""
        found: list[StoredSchedule] = yield Firing()
        return found

    def save_schedule(self, stored: StoredSchedule) -> Operation[None]:
        if not stored.declared:  # it would fire for ever: nobody could delete it
            raise self.unsupported(Capability.SCHEDULES)
        yield Announce(stored)

    def pause_schedule(self, name: str, paused: bool) -> Operation[bool]:
        raise self.unsupported(Capability.SCHEDULES)

    def delete_schedule(self, name: str) -> Operation[bool]:
        raise self.unsupported(Capability.SCHEDULES)

    def advance_schedule(
        self, name: str, seen: float, next_at: float | None, jobs: Sequence[JobRecord]
    ) -> Operation[bool]:
        now = self.now()
        moved: bool = yield Advance(name, seen, next_at, [entered(job, now) for job in jobs])
        return moved
