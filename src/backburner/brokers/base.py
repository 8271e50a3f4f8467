"""The seam between the core, which decides, and a broker, which stores and moves.

1. Each method below is an *operation*: a generator that yields the broker's own statements and returns
   the reply. It does no I/O, so the same operation serves callers with and without an event loop, and
   runs on a caller's own connection; and operations compose with `yield from`.
2. `run` performs an operation on the calling thread, `arun` without blocking the event loop, `run_on` and
   `arun_on` on the caller's connection, inside the caller's transaction. What one method writes is atomic.
   What the core composes of several (`rescue`, `tick`) is guarded step by step, and may stop between any two.
3. Batch is the primitive: one job is a batch of one.
4. Every guarded write says what it refused, so that a worker can stop what it no longer owns.
5. What a broker cannot do is a missing `Capability`; asking for it raises `NotSupported`.
6. A server's answer may be lost after the work was done. A broker on a server sends a step again, within its
   patience, when doing it twice does no harm: a job is stored once under its id. A claim is not sent again:
   the error goes to the worker, which finds with `recover` what it was given.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Collection, Container, Generator, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from backburner import lifecycle
from backburner.errors import LeaseLost, NotSupported, QueueFull

if TYPE_CHECKING:
    from backburner.doctor import Check
    from backburner.job import JobRecord
    from backburner.lifecycle import Attempt, Settlement, State
    from backburner.schedule import Schedule

T = TypeVar("T")
Operation = Generator[Any, Any, T]
OnFull = Literal["raise", "block", "drop_oldest"]
DRAIN_WINDOW = 5
"""Minutes that a full queue is judged by."""


class Capability(StrEnum):
    """What some brokers can do and others cannot."""

    TRANSACTIONS = (
        "transactions",
        "Jobs are enqueued and completed on the caller's own connection, inside the caller's transaction.",
    )
    LOOKUP = (
        "lookup",
        """Jobs are found by id and by filter, counted by state, and acted on by id: results, progress,
        checkpoints, cancel, revive, delete.""",
    )
    UNIQUE = "unique", "Idempotency keys, and one job per id."
    SCHEDULES = (
        "schedules",
        """Periodic tasks are listed, paused, deleted and made at run time; without it those declared in code
        still fire.""",
    )
    BOUNDED = "bounded", "Queues with a maximal length."
    ORDER = (
        "order",
        """Jobs are claimed in exact order: any priority, and a job that comes back keeps its place; without
        it, by the broker's bands of priority.""",
    )
    UPKEEP = (
        "upkeep",
        """Leases, due jobs and retention are kept by the duties of the workers (heartbeat, stage, rescue,
        prune); without it the server does that by itself: a worker's jobs go to others when its connection
        ends, and delayed jobs come due in the server.""",
    )

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Capability:
        made = str.__new__(cls, value)
        made._value_, made.meaning = value, " ".join(meaning.split())
        return made


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs a queue takes, and what an enqueue does when it is full."""

    queue: str
    max_length: int
    on_full: OnFull = "raise"
    timeout: float | None = None
    """Seconds that an enqueue blocks at most; None: as long as it takes."""
    keep: float = 86400.0
    """Seconds that a job that was dropped is kept."""

    def full(self, held: int, excess: int, drained: int, now: float) -> QueueFull:
        """The error for a queue that holds `held` jobs and was given `excess` too many.

        `drained` jobs of it have ended in this minute and the `DRAIN_WINDOW` before: when that many more
        have, there is room.
        """
        rate = drained / (DRAIN_WINDOW * 60 + now % 60)
        retry_after = min(max(excess / rate, 1.0), 300.0) if rate else 30.0
        return QueueFull(self.queue, held, self.max_length, retry_after)


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker asks for: up to `limit` jobs, from `queues` in that order."""

    worker: str
    queues: tuple[str, ...]
    limit: int
    exclude: tuple[str, ...] = ()
    """Tasks that this worker has no room for just now."""
    poison_after: int = 3
    """Crashes that make a poison pill, for a broker whose server counts them: it sets suspects apart."""


class Exchange(NamedTuple):
    """The answer to `exchange`."""

    jobs: list[JobRecord]
    lost: list[str]
    """Ids of the jobs whose settlement was refused: another claim, or a person, was there first.

    Also of jobs that still run here, where the broker learned that their claims had gone to others.
    """
    locked: Sequence[str] = ()
    """Ids of the jobs that another transaction has locked just now. The others do not wait for it: nothing
    was done of these settlements, which are to be sent again. None without `Capability.TRANSACTIONS`.
    """


class Recovered(NamedTuple):
    """What an exchange had done whose answer was lost."""

    jobs: list[JobRecord]
    """Claimed, and not known to the worker."""
    applied: list[Settlement]


class Beat(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One worker's sign of life. A lease of 0 ends it: its jobs may be rescued at once."""

    worker: str
    lease: float
    new: bool = False
    """The first beat, which registers the worker. A later one never brings a lost lease back."""
    node: str = ""
    host: str = ""
    pid: int = 0
    queues: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    running: int = 0
    concurrency: int = 0
    full: tuple[str, ...] = ()
    """The tasks that it has no free slot for: coroutines, threads and processes have slots of their own."""
    quiet: bool = False


class Directives(NamedTuple):
    """What a heartbeat brings back."""

    cancel: dict[str, str]
    """Jobs that run on these workers and shall be stopped: the reason by the job's id."""
    lost: list[str]
    """Workers whose lease has gone to others: they must stop all that they run."""


class Staged(msgspec.Struct, frozen=True):
    """What `stage` did."""

    count: int
    next_at: float | None
    """When the next job is due, if any waits."""


class Pruned(NamedTuple):
    """What `prune` did."""

    deleted: int
    trimmed: dict[str, int]
    """Dead jobs deleted beyond `max_dead`, by queue."""
    dead: dict[str, int]
    """Dead jobs kept, by queue."""


class WorkerInfo(msgspec.Struct, kw_only=True):
    """A worker as the broker knows it."""

    id: str
    beat: Beat
    started_at: float
    seen_at: float
    lease_until: float


class QueueInfo(msgspec.Struct, kw_only=True):
    """One queue: how many jobs are in each state, and what was set for it."""

    name: str
    counts: dict[str, int]
    oldest: float | None = None
    """When the job that has waited longest became due."""
    paused: bool = False
    max_length: int | None = None
    on_full: OnFull | None = None


class TaskInfo(msgspec.Struct, kw_only=True):
    """The stored jobs of one task: how many are in each state."""

    name: str
    counts: dict[str, int]
    oldest: float | None = None
    """When the job that has waited longest in a queue became due."""


class Rate(msgspec.Struct, frozen=True):
    """What happened to the jobs of one task in one queue during a span of time."""

    queue: str
    task: str
    outcome: str
    count: int
    seconds: float
    """Time spent in those attempts."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs to find; empty fields match all."""

    states: tuple[State, ...] = ()
    queue: str | None = None
    task: str | None = None
    error: str | None = None
    """Text in the reason or in the last error."""
    tag: str | None = None
    limit: int = 50
    before: str | None = None
    """Only jobs listed after this id, for the next page."""


class StoredSchedule(msgspec.Struct, kw_only=True):
    """A periodic task with where it stands."""

    schedule: Schedule
    next_at: float | None
    last_job: str | None = None
    paused: bool = False
    declared: bool = True
    """Declared in code; False when it was made at run time."""


class Waiter(Protocol):
    """Waits until something may have happened: True for a wake-up, False for no particular reason."""

    def wait(self, timeout: float | None) -> bool: ...

    async def wait_async(self, timeout: float | None) -> bool: ...


class Broker(ABC):
    """Stores and moves jobs. Subclasses live in `brokers/<name>/broker.py`."""

    capabilities: frozenset[Capability] = frozenset()
    url: str

    # Performing operations ---------------------------------------------------------------------------

    @abstractmethod
    def run(self, operation: Operation[T]) -> T:
        """Perform, and block the calling thread until it is done. Raises `BrokerError`s."""

    @abstractmethod
    def arun(self, operation: Operation[T]) -> Awaitable[T]:
        """Perform without blocking the event loop; where it can, it begins before the answer is awaited."""

    def run_on(self, connection: Any, operation: Operation[T]) -> T:
        """Perform on the caller's own connection; the caller commits or rolls back.

        When the operation raises `LeaseLost`, the caller's transaction can no longer be committed.
        """
        operation.close()
        raise self.unsupported(Capability.TRANSACTIONS)

    async def arun_on(self, connection: Any, operation: Operation[T]) -> T:
        """`run_on`, for the connection of an asynchronous driver, too."""
        return self.run_on(connection, operation)

    @abstractmethod
    def now(self) -> float:
        """The broker's clock, in seconds since the epoch (an estimate where the broker is remote)."""

    @abstractmethod
    def waiter(self, topics: Sequence[str]) -> AbstractContextManager[Waiter]:
        """Listen from here on, until the context ends.

        Topics are `queue:NAME` (work), `job:ID` (finished), `worker:ID`
        (directives wait), `stage` (something is due soon).
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of connections and threads. The broker opens again when it is used again."""

    def exists(self) -> bool:
        """Whether anything was ever stored there; looking makes nothing."""
        return True

    def migrate(self) -> list[str]:
        """Bring what is stored up to this version; the names of the migrations applied."""
        return []

    def checkup(self, queues: Collection[str] = ()) -> list[Check]:
        """What `backburner doctor` says of the broker itself. Raises nothing: trouble is what it is for.

        `queues` are those that the caller knows of, for a broker that cannot list its own.
        """
        return []

    def require(self, *capabilities: Capability) -> None:
        """Raise `NotSupported` for the first of them that is missing."""
        for capability in capabilities:
            if capability not in self.capabilities:
                raise self.unsupported(capability)

    def unsupported(self, capability: Capability) -> NotSupported:
        return NotSupported(f"{type(self).__name__} has no {capability}: {self.advice(capability)}")

    def advice(self, capability: Capability) -> str:
        """What to do next, for who asked for a capability that is missing."""
        return "see docs/brokers for one that has"

    # The life of a job -------------------------------------------------------------------------------

    @abstractmethod
    def enqueue(self, jobs: Sequence[JobRecord], bounds: Mapping[str, Bound]) -> Operation[list[JobRecord]]:
        """Store new jobs; the reply holds what is stored for each: itself, or the job that had its id or
        its idempotency key already. Raises `QueueFull`, and then stores none of them.
        """

    @abstractmethod
    def exchange(self, settlements: Sequence[Settlement], claim: Claim | None) -> Operation[Exchange]:
        """The hot path: settle these and claim those, in one round trip."""

    @abstractmethod
    def held(self, worker: str) -> Operation[list[JobRecord]]:
        """The jobs that run under this worker's name."""

    def recover(
        self, worker: str, settlements: Sequence[Settlement], known: Collection[str]
    ) -> Operation[Recovered]:
        """After an exchange whose answer was lost: what it had done.

        `known` are the ids of the jobs that the worker has in hand; it holds others if it was given them.
        """
        held = yield from self.held(worker)
        stored = (yield from self.get([each.job.id for each in settlements])) if settlements else []
        by_id = {job.id: job for job in stored}
        applied = [
            each
            for each in settlements
            if (found := by_id.get(each.job.id)) is not None and lifecycle.applied(each, found)
        ]
        return Recovered([job for job in held if job.id not in known], applied)

    def complete(self, settlement: Settlement) -> Operation[None]:
        """Settle one job, for `run_on`. Raises `LeaseLost` if its claim no longer holds."""
        if (yield from self.exchange([settlement], None)).lost:
            raise LeaseLost(
                f"job {settlement.job.id} is owned by another attempt by now: stop; "
                "your transaction was undone"
            )

    @abstractmethod
    def heartbeat(self, beats: Sequence[Beat]) -> Operation[Directives]:
        """Extend the leases of workers, one write for a whole node."""

    @abstractmethod
    def stage(self, limit: int) -> Operation[Staged]:
        """Move up to `limit` scheduled and retrying jobs that are due to their queues."""

    @abstractmethod
    def orphans(self, limit: int, workers: Collection[str] | None) -> Operation[list[JobRecord]]:
        """End the expired leases of these workers (None: all), and give up to `limit` jobs that they left.

        Where all are meant, a lease counts that had expired when this was asked for. It may be done much
        later, on a server that stood still: nobody could beat then, and that does not tell who is dead.
        """

    def rescue(
        self, limit: int, poison_after: int, workers: Mapping[str, Container[object] | None] | None = None
    ) -> Operation[list[Settlement]]:
        """Hand the jobs of dead workers back to their queues, or to the dead letters (poison pills).

        `workers` limits it to these; where it is known which of their jobs had really started, a crash is
        not held against the others.
        """
        settlements = []
        for job in (yield from self.orphans(limit, workers)):
            started = workers.get(job.worker or "") if workers else None
            if job.flaw is not None:
                settlements.append(lifecycle.quarantined(job, self.now()))
            elif started is None or job.id in started:
                settlements.append(lifecycle.crashed(job, self.now(), poison_after=poison_after))
            else:
                settlements.append(lifecycle.released(job, self.now()))
        if not settlements:
            return []
        answer = yield from self.exchange(settlements, None)
        return [each for each in settlements if each.job.id not in {*answer.lost, *answer.locked}]

    @abstractmethod
    def prune(self, limit: int, max_dead: int) -> Operation[Pruned]:
        """Delete up to `limit` final jobs whose retention has passed, and dead ones beyond `max_dead`."""

    @abstractmethod
    def note(self, job: JobRecord, progress: bytes | None, checkpoint: bytes | None) -> Operation[bool]:
        """Store a running job's progress or checkpoint (None leaves it); False if the lease is lost."""

    # Lookups and operator actions --------------------------------------------------------------------

    @abstractmethod
    def get(self, ids: Sequence[str]) -> Operation[list[JobRecord]]: ...

    @abstractmethod
    def history(self, job_id: str) -> Operation[list[Attempt]]: ...

    @abstractmethod
    def find(self, which: Filter) -> Operation[list[JobRecord]]:
        """Jobs that match, newest first."""

    @abstractmethod
    def cancel(self, ids: Sequence[str], reason: str, keep: float) -> Operation[list[str]]:
        """Cancel what waits, ask the workers of what runs; the reply names the jobs that were not final."""

    @abstractmethod
    def revive(self, ids: Sequence[str]) -> Operation[list[str]]:
        """Queue dead and cancelled jobs again with fresh attempts; the reply names them."""

    @abstractmethod
    def delete(self, ids: Sequence[str]) -> Operation[list[str]]:
        """Delete jobs that are not running; the reply names them."""

    @abstractmethod
    def adopt(self, jobs: Sequence[JobRecord], histories: Mapping[str, Sequence[Attempt]]) -> Operation[int]:
        """Store jobs of another broker as they are there, with their histories by id; how many were stored.

        For jobs that wait or are dead. One whose id or idempotency key is stored here already is left out.
        """

    def identity(self) -> Operation[str]:
        """A random name that was given to what is stored here, once, and goes with it."""
        raise self.unsupported(Capability.LOOKUP)

    @abstractmethod
    def queues(self) -> Operation[list[QueueInfo]]: ...

    @abstractmethod
    def tasks(self) -> Operation[list[TaskInfo]]:
        """Every task that a stored job names."""

    @abstractmethod
    def set_queue(
        self, name: str, *, paused: bool | None = None, bound: Bound | None = None
    ) -> Operation[None]: ...

    @abstractmethod
    def workers(self) -> Operation[list[WorkerInfo]]: ...

    @abstractmethod
    def rates(self, seconds: float) -> Operation[list[Rate]]:
        """What ended during the last `seconds`, to the minute."""

    @abstractmethod
    def ahead(self, job: JobRecord, limit: int) -> Operation[int]:
        """How many queued jobs will be claimed before this one; counts up to `limit`."""

    # Periodic tasks ----------------------------------------------------------------------------------

    @abstractmethod
    def schedules(self) -> Operation[list[StoredSchedule]]: ...

    def firing(self) -> Operation[list[StoredSchedule]]:
        """The schedules that this process may fire now; a broker that stores none knows the declared ones."""
        return (yield from self.schedules())

    @abstractmethod
    def save_schedule(self, stored: StoredSchedule) -> Operation[None]:
        """Insert, or replace one of that name; an unchanged declaration keeps its next fire."""

    @abstractmethod
    def pause_schedule(self, name: str, paused: bool) -> Operation[bool]: ...

    @abstractmethod
    def delete_schedule(self, name: str) -> Operation[bool]: ...

    @abstractmethod
    def advance_schedule(
        self, name: str, seen: float, next_at: float | None, jobs: Sequence[JobRecord]
    ) -> Operation[bool]:
        """If the next fire still is `seen`: set it, and enqueue its jobs in the same write; else False."""
