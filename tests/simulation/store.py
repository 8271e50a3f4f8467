"""The SQLite broker in memory, as simulated processes reach it over a network that fails.

1. There is one store: a connection on which one operation after the other is performed and committed, at once
   and whole. The judge is shown each claim and each settlement, in their true order.
2. Each process has a `SimulatedBroker` with a clock of its own. A request takes time to arrive, and so does
   its reply; each may be lost. Who gets no reply is told `BrokerUnavailable` after a while.
3. A request may be carried out long after that: what stands before a server that froze.
4. Wake-ups are told after the commit, and may be missed.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from backburner.brokers.base import Beat, Claim, Directives, Exchange, Operation, StoredSchedule
from backburner.brokers.begun import begun
from backburner.brokers.sqlite import schema
from backburner.brokers.sqlite.broker import SqliteBroker
from backburner.brokers.sqlite.database import MEMORY, Database
from backburner.errors import BrokerUnavailable
from backburner.job import JobRecord
from backburner.lifecycle import Settlement
from tests.oracle import Fired
from tests.simulation.loop import Strand

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")
FINAL_STATES = "('succeeded', 'dead', 'cancelled')"
NEXT_DUE = """
SELECT at, duty FROM (
    SELECT min(run_at) - 1 AS at, 'stage' AS duty FROM backburner_jobs
        WHERE state IN ('scheduled', 'retrying')
    UNION ALL SELECT min(next_at) - 1, 'tick' FROM backburner_schedules WHERE NOT paused
    UNION ALL SELECT min(prune_at) + 30, 'prune' FROM backburner_jobs
    UNION ALL SELECT min(lease_until), 'rescue' FROM backburner_workers
        WHERE id NOT IN (SELECT value FROM json_each(:living))
    UNION ALL SELECT 0, '' FROM backburner_jobs WHERE state = 'running'
        AND (cancel_requested OR worker NOT IN (SELECT id FROM backburner_workers))
    UNION ALL SELECT 0, '' FROM backburner_jobs WHERE state = 'queued' AND :idle)
WHERE at IS NOT NULL ORDER BY at LIMIT 1"""
"""What comes next, and the duty that finds it: a second before something is due, or half a minute after
something is to be deleted."""
PROLONG = """
UPDATE backburner_workers SET lease_until = lease_until + :seconds, seen_at = seen_at + :seconds
WHERE id = :name"""
PATIENCE = 3.0
"""Seconds after which a request counts as lost."""


class Store:
    """What is stored, and who listens to it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.database = Database(MEMORY, self.wake)
        self.connection = sqlite3.connect(MEMORY, isolation_level=None, check_same_thread=False)
        _template().backup(self.connection)
        self.connection.create_function("true_time", 0, lambda: world.now)
        self.database._connection = self.connection
        self.away = False
        self.listening: list[SimulatedWaiter] = []
        self.late = 0
        """Requests that may arrive long after their clients gave up."""
        self.changed = asyncio.Event()
        """Set when a job has ended, or something that was late has come."""
        self.leases: dict[str, float] = {}
        """Until when each worker's lease lasts, by the true time."""
        self._notes: list[Callable[[], None]] = []

    def perform(self, operation: Operation[T]) -> T:
        try:
            result = self.database.run(operation)
        except BaseException:
            self._notes.clear()
            raise
        self.flush()
        return result

    def note(self, told: Callable[[], None]) -> None:
        """To be said when what is done now has been committed."""
        self._notes.append(told)

    def flush(self) -> None:
        notes, self._notes = self._notes, []
        for told in notes:
            told()
        if notes:
            self.changed.set()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A user's own; undone when it raises."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            self._notes.clear()
            raise
        self.flush()

    def wake(self, counts: Mapping[str, int]) -> None:
        for topic, count in counts.items():
            left = count
            for waiter in self.listening:
                if left > 0 and topic in waiter.topics:
                    left -= 1
                    if not self.world.happens("missed wake-up", 0.3):
                        waiter.wake()

    def next_due(self, living: list[str], *, idle: bool) -> tuple[float, str]:
        """When which duty finds something to do next. `idle`: some worker has room for what is queued."""
        given = {"living": msgspec.json.encode(living).decode(), "idle": idle}
        found: tuple[float, str] = self.connection.execute(NEXT_DUE, given).fetchone() or (math.inf, "")
        return found

    def prolong(self, living: list[str], seconds: float) -> None:
        """The leases of these workers."""
        for name in living:
            self.connection.execute(PROLONG, {"name": name, "seconds": seconds})
            self.leases[name] += seconds

    def rows(self, sql: str, *values: Any) -> list[Any]:
        return self.connection.execute(sql, values).fetchall()

    def jobs(self) -> dict[str, JobRecord]:
        names = ["seq" if name == "locator" else name for name in JobRecord.__struct_fields__[:23]]
        found = map(schema.record, self.rows(f"SELECT {', '.join(names)} FROM backburner_jobs"))
        return {job.id: job for job in found}

    def close(self) -> None:
        self.database.close()


class SimulatedWaiter:
    """Keeps a wake-up until it is asked for, as a pipe does."""

    def __init__(self, topics: Sequence[str], owner: Strand, world: World) -> None:
        self.owner = owner
        self._world = world
        self.topics = frozenset(topics)
        self._woken = False
        self._waiting: asyncio.Future[None] | None = None

    def wake(self) -> None:
        self._woken = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def wait(self, timeout: float | None) -> bool:
        raise NotImplementedError("nothing in a simulation blocks")

    async def wait_async(self, timeout: float | None) -> bool:
        if not self._woken:
            loop = self._world.loop
            self._waiting = loop.create_future()
            timer = None if timeout is None else loop.idle_later(timeout, self._time_out, self._waiting)
            try:
                await self._waiting
            finally:
                if timer is not None:
                    timer.cancel()
        woken, self._woken = self._woken, False
        return woken

    def _time_out(self, waiting: asyncio.Future[None]) -> None:
        if not waiting.done():
            waiting.set_result(None)


class SimulatedBroker(SqliteBroker):
    """The broker as one process has it."""

    def __init__(self, store: Store, strand: Strand) -> None:
        self.url, self.path = "sqlite://", MEMORY
        self.store, self.world, self.strand = store, store.world, strand
        self.clock_error = 0.0
        """Seconds by which this process's clock is ahead."""
        self.cut_off = False
        self._names: set[str] = set()
        """Of the workers of this process, which may end their own jobs as they like."""
        self.clock = lambda: self.world.now + self.clock_error
        self._database = store.database
        self.outside = Context()

    # The network -------------------------------------------------------------------------------------

    def run(self, operation: Operation[T]) -> T:
        if self._unreachable():
            operation.close()
            raise BrokerUnavailable("simulated: nobody answers")
        return self.store.perform(operation)

    def run_on(self, connection: Any, operation: Operation[T]) -> T:
        return self.store.database.run_on(connection, operation)

    def arun(self, operation: Operation[T]) -> asyncio.Future[T]:
        world, loop, name = self.world, self.world.loop, getattr(operation, "__name__", "")
        answer: asyncio.Future[T] = loop.create_future()
        if self.strand.dead:  # the garbage collector ends a coroutine of a process that is no more
            operation.close()
            return answer
        delay = world.span(0.0005, 0.005)
        if world.happens("slow network", 0.1):
            delay += world.span(0.0, 2.0)
        if self._unreachable() or world.happens("lost request", 0.1):
            self._later(world.span(0.01, PATIENCE), self._fail, answer, f"nobody answers {name}")
            operation.close()
            return answer
        if world.happens("late request", 0.05):
            self._later(PATIENCE, self._fail, answer, f"no answer in time to {name}")
            delay = world.span(PATIENCE, 40.0)
            self.store.late += 1
            self._later(delay + 0.1, self._arrived)
        self._later(delay, self._perform, name, begun(operation), answer)
        return answer

    def _unreachable(self) -> bool:
        return self.store.away or self.cut_off

    def _later(self, delay: float, callback: Callable[..., None], *args: Any) -> None:
        self.world.loop.call_later(delay, callback, *args, context=self.outside)

    def _perform(self, name: str, operation: Operation[Any], answer: asyncio.Future[Any]) -> None:
        if self.store.away:
            operation.close()
            self._later(0.01, self._fail, answer, f"it went away before {name}")
            return
        result: Any = None
        error: Exception | None = None
        try:
            result = self.store.perform(operation)
        except Exception as raised:  # noqa: BLE001 - whatever it raises is the answer
            error = raised
        world = self.world
        world.note(f"{self.strand.name} {name} {error or ''}")
        if self.cut_off or world.happens("lost reply", 0.1):
            self._later(world.span(0.01, PATIENCE), self._fail, answer, f"the reply to {name} was lost")
        else:
            self._later(world.span(0.0005, 0.005), self._answer, answer, result, error)

    def _arrived(self) -> None:
        self.store.late -= 1
        self.store.changed.set()

    def _answer(self, answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
        if not (answer.done() or self.strand.dead):
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)

    def _fail(self, answer: asyncio.Future[Any], why: str) -> None:
        if not (answer.done() or self.strand.dead):
            answer.set_exception(BrokerUnavailable(f"simulated: {why}"))

    @contextmanager
    def waiter(self, topics: Sequence[str]) -> Iterator[SimulatedWaiter]:
        waiter = SimulatedWaiter(topics, self.strand, self.world)
        self.store.listening.append(waiter)
        try:
            yield waiter
        finally:
            if waiter in self.store.listening:  # else its process was killed
                self.store.listening.remove(waiter)

    def close(self) -> None:
        """The store stays."""

    # What the judge is shown -------------------------------------------------------------------------

    def exchange(self, settlements: Sequence[Settlement], claim: Claim | None) -> Operation[Exchange]:
        exchange = yield from super().exchange(settlements, claim)
        live = {each.job.id: self.world.oracle.live.get(each.job.id) for each in settlements}
        lost = Counter(exchange.lost)
        # Of two settlements of one job the one whose claim holds is the one that was written.
        for each in sorted(settlements, key=lambda each: live[each.job.id] == _claim_of(each.job)):
            if lost[each.job.id] > 0:
                lost[each.job.id] -= 1
            else:
                self.store.note(partial(self._settled, each))
        for job in exchange.jobs:
            self.store.note(partial(self._claimed, job))
        if claim is not None and exchange.jobs:
            self._in_order(exchange.jobs, claim)
        return exchange

    def _settled(self, each: Settlement) -> None:
        job = each.job
        self.world.note(f"store: {each.verb} {job.id} token {job.token} of {job.worker}")
        self.world.oracle.settled(job.id, *_claim_of(job))
        if each.verb in ("crash", "poison") and job.worker not in self._names:
            until = self.store.leases.get(job.worker or "", 0.0)
            errors = self.world.clock_errors
            if until - (max(errors) - min(errors)) > self.world.now:
                self.world.oracle.broke(job.id, f"rescued from {job.worker}, whose lease was live")

    def _claimed(self, job: JobRecord) -> None:
        self.world.note(f"store: claim {job.id} token {job.token} by {job.worker}")
        self.world.oracle.claimed(job.id, *_claim_of(job))

    def _in_order(self, taken: Sequence[JobRecord], claim: Claim) -> None:
        """Nobody who waits had to be first."""
        for queue in claim.queues:
            own = [job for job in taken if job.queue == queue]
            if not own:
                continue
            last = max(own, key=lambda job: (-job.priority, job.run_at, job.locator))
            place = {"queue": queue, "priority": last.priority, "at": last.run_at, "seq": last.locator}
            sql = """SELECT id, task FROM backburner_jobs WHERE state = 'queued' AND queue = :queue AND (
                priority > :priority OR (priority = :priority AND (
                run_at < :at OR (run_at = :at AND seq < :seq))))"""
            for job_id, task in self.store.connection.execute(sql, place):
                if task not in claim.exclude:
                    self.world.oracle.broke(job_id, f"{last.id} was claimed before it: not in order")

    def heartbeat(self, beats: Sequence[Beat]) -> Operation[Directives]:
        directives = yield from super().heartbeat(beats)
        for beat in beats:
            if beat.worker not in directives.lost:
                self.store.note(partial(self._beaten, beat))
        return directives

    def _beaten(self, beat: Beat) -> None:
        self._names.add(beat.worker)
        self.store.leases[beat.worker] = self.world.now + beat.lease

    def save_schedule(self, stored: StoredSchedule) -> Operation[None]:
        yield from super().save_schedule(stored)
        schedule = stored.schedule
        next_at = self.store.rows("SELECT next_at FROM backburner_schedules WHERE name = ?", schedule.name)[
            0
        ][0]
        self.store.note(partial(self.world.timetable.saved, schedule, next_at))

    def delete_schedule(self, name: str) -> Operation[bool]:
        deleted = yield from super().delete_schedule(name)
        self.store.note(partial(self.world.timetable.deleted, name))
        return deleted

    def advance_schedule(
        self, name: str, seen: float, next_at: float | None, jobs: Sequence[JobRecord]
    ) -> Operation[bool]:
        last = "SELECT last_job FROM backburner_schedules WHERE name = ?"
        unfinished = f"SELECT 1 FROM backburner_jobs WHERE id = ({last}) AND state NOT IN {FINAL_STATES}"
        busy = bool(self.store.rows(unfinished, name))
        moved = yield from super().advance_schedule(name, seen, next_at, jobs)
        if moved:
            self.store.note(partial(self._fired, name, seen, next_at, list(jobs), busy))
        return moved

    def _fired(
        self,
        name: str,
        seen: float,
        next_at: float | None,
        jobs: Sequence[JobRecord],
        busy: bool,
    ) -> None:
        run_ats = [job.run_at for job in jobs]
        fired = self.world.timetable.advanced(name, seen, next_at, run_ats, busy=busy)
        for job, due in zip(jobs, fired, strict=False):
            self.world.see(Fired(job.id, name, due))


def _claim_of(job: JobRecord) -> tuple[str, int]:
    return job.worker or "", job.token


@cache
def _template() -> sqlite3.Connection:
    """An empty queue, with a table for users' effects and one that tells what was deleted."""
    connection = sqlite3.connect(MEMORY, isolation_level=None, check_same_thread=False)
    schema.migrate(connection, MEMORY)
    connection.execute("CREATE TABLE effects (job TEXT, token INTEGER)")
    connection.execute("CREATE TABLE gone (job TEXT, state TEXT, prune_at REAL, at REAL)")
    connection.execute(
        """CREATE TRIGGER remember AFTER DELETE ON backburner_jobs
        BEGIN INSERT INTO gone VALUES (old.id, old.state, old.prune_at, true_time()); END"""
    )
    return connection
