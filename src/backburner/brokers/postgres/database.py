"""The server as one process uses it: a few connections for all of its threads.

1. A step is one statement, atomic by itself. It is performed on an idle connection, or a new one, and the
   connection is given back at once. `run` does that on the calling thread, `arun` on threads of this object.
2. A step that failed is sent again with growing pauses until `patience` has passed, if that is harmless:
   nothing was sent yet, or the server said that it did nothing, or doing it twice changes nothing. Patience
   counts from when it was asked for: with the server away, a long line that waits for the threads is refused
   when its head is.
3. An exception may be thrown into the performing thread at any point (a time limit, Ctrl-C). Then nobody
   knows what the connection will bring next: it is closed. So it is when it broke, or did not answer in time.
4. Fresh jobs (`DoFresh`) of operations that come at the same time are one statement. It is sent once, and not
   at all in trouble: when it fails, for whatever reason, each operation goes on by itself.
5. After a fork the child forgets all of it and closes nothing: the sessions are its parent's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import psycopg

from backburner.brokers.base import Operation
from backburner.brokers.clock import ServerClock
from backburner.brokers.forks import begins_anew
from backburner.brokers.gathering import FEW, gathered
from backburner.brokers.postgres import schema
from backburner.brokers.postgres.address import Address
from backburner.brokers.postgres.errors import CONFLICTS, CUT_OFF, sqlstate, translation
from backburner.brokers.postgres.session import ANSWER, LONG_ANSWER, Session, connect
from backburner.brokers.postgres.steps import Do, DoFresh, together
from backburner.brokers.shield import shielded
from backburner.brokers.sql import statements
from backburner.brokers.threads import Threads
from backburner.brokers.together import Together
from backburner.errors import BackburnerError, BrokerUnavailable

T = TypeVar("T")
Row = tuple[Any, ...]
CONNECTIONS = 10
THREADS = 8
_LOOKUPS = {"find", "queues_counts", "tasks", "get", "history"}
_WAITED_LONG = {"55P03", "57014"}
"""Lock and statement timeouts: who waited that long need not be sent into the same line again."""


class Lost(Exception):
    """A step failed; `safe` says that sending it again does no harm."""

    def __init__(self, error: BackburnerError, *, safe: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.safe = safe


class Database:
    """The database at `address`."""

    def __init__(self, address: Address, clock: Callable[[], float] | None) -> None:
        self.address = address
        found = statements(schema.PACKAGE, schema=f'"{address.schema}"', later="false")
        self._sql = {name: text.encode() for name, text in found.items()}
        self._checked = False
        self._trouble = ""
        """What went wrong last, until something goes well."""
        self.clock = ServerClock(clock)
        self._begin()
        begins_anew(self)

    def _begin(self) -> None:
        self._idle: deque[Session] = deque()
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(CONNECTIONS):
            self._room.put(None)
        self._threads = Threads(THREADS, "backburner-postgres")
        self._together = Together(self._store, "backburner-postgres-enqueue")

    # Performing operations ---------------------------------------------------------------------------

    def run(self, operation: Operation[T], asked: float | None = None, step: Do | DoFresh | None = None) -> T:
        """`asked` is when, on `time.monotonic()`, if not now: patience is counted from there. `step` is the
        first one, if the operation has begun.
        """
        try:
            step = step or next(operation)
            while True:
                if isinstance(step, DoFresh):
                    asked = asked or time.monotonic()
                    step = operation.send(self._perform_fresh(step))
                else:
                    step = operation.send(self._perform(step, asked))
                    asked = None
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            operation.close()

    def arun(self, operation: Operation[T]) -> Awaitable[T]:
        asked = time.monotonic()
        return gathered(
            operation, self._shared, lambda operation, step: self._on_thread(operation, asked, step)
        )

    def _shared(self, step: Do | DoFresh) -> Awaitable[list[Row] | None] | None:
        return self._together.aask(step) if isinstance(step, DoFresh) and self._gathers(step) else None

    def _on_thread(self, operation: Operation[T], asked: float, step: Do | DoFresh | None) -> Awaitable[T]:
        return shielded(asyncio.wrap_future(self.submit(lambda: self.run(operation, asked, step))))

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do it on a thread of this object."""
        return self._threads.submit(work)

    def close(self) -> None:
        self._together.close()
        self._threads.close()
        while self._idle:
            self._idle.pop().close()

    # One step ----------------------------------------------------------------------------------------

    def _perform(self, step: Do, asked: float | None) -> list[Row]:
        began = time.monotonic()
        end = (asked or began) + self.address.patience
        if began > end and self._trouble:
            raise BrokerUnavailable(self._trouble)
        pause = 0.02
        while True:
            try:
                rows = self._once(step, end)
            except Lost as lost:
                if not lost.safe or time.monotonic() + pause > end:
                    self._trouble = str(lost.error) if isinstance(lost.error, BrokerUnavailable) else ""
                    raise lost.error from lost.__cause__
            else:
                self._trouble = ""
                return rows
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(pause * 2, 1.0)

    def _perform_fresh(self, step: DoFresh) -> list[Row] | None:
        if self._gathers(step):
            return self._together.ask(step)
        with suppress(BackburnerError):
            return None if self._trouble else self._store([step])[0]
        return None

    def _gathers(self, step: DoFresh) -> bool:
        return len(step.jobs) <= FEW and not self._trouble

    def _store(self, steps: list[DoFresh]) -> list[list[Row]]:
        try:
            return [self._once(together(steps), time.monotonic() + self.address.patience)] * len(steps)
        except Lost as lost:
            self._trouble = str(lost.error) if isinstance(lost.error, BrokerUnavailable) else ""
            raise lost.error from lost.__cause__

    def _once(self, step: Do, end: float) -> list[Row]:
        held: list[None] = []
        try:
            # One call, in C: an exception that is thrown into this thread comes before it, or after it.
            held.extend(map(self._room.get, [True], [max(end - time.monotonic(), ANSWER)]))
            session = self._session()
            seconds = LONG_ANSWER if step.name in _LOOKUPS else ANSWER
            try:
                return session.ask(self._sql[step.name], step.parameters, seconds)
            except psycopg.Error as error:
                raise self._lost(error, again=step.again) from error
            finally:
                self._give_back(session)
        except Empty:
            raise BrokerUnavailable(
                f"all {CONNECTIONS} connections of this process have been busy for {ANSWER:g} s: "
                f"the server at {self.address.place} is too slow, or too many threads ask at once"
            ) from None
        finally:
            if held:
                self._room.put(None)

    def _give_back(self, session: Session) -> None:
        if session.idle:
            self._idle.append(session)
        else:
            session.close()

    def _lost(self, error: psycopg.Error, *, again: bool) -> Lost:
        found, code = translation(error, self.address.place), sqlstate(error)
        if code in _WAITED_LONG or not isinstance(found, BrokerUnavailable):
            return Lost(found, safe=False)
        undone = code is not None and not code.startswith(CUT_OFF)
        return Lost(found, safe=again or undone or code in CONFLICTS)

    # Connections -------------------------------------------------------------------------------------

    def _session(self) -> Session:
        while self._idle:
            session = self._idle.pop()
            if session.usable:
                return session
            session.close()
        try:
            session = connect(self.address.conninfo, ANSWER)
            try:
                self._greet(session)
            except BaseException:
                session.close()
                raise
        except psycopg.Error as error:
            found = translation(error, self.address.place)
            raise Lost(found, safe=isinstance(found, BrokerUnavailable)) from error
        return session

    def _greet(self, session: Session) -> None:
        [(now,)] = session.ask(b"SELECT extract(epoch FROM clock_timestamp())::float8", {}, ANSWER)
        self.clock.saw(now)
        if not self._checked:
            schema.check_server(session)
            session.deadline = time.monotonic() + LONG_ANSWER
            schema.check(session, self.address.schema)
            self._checked = True

    def migrate(self) -> list[str]:
        """Bring the schema up to date; the names of the migrations applied."""
        return self.alone(lambda session: schema.migrate(session, self.address.schema))

    def alone(self, work: Callable[[Session], T]) -> T:
        """Do something on a connection of its own, once."""
        try:
            session = connect(self.address.conninfo, LONG_ANSWER)
            try:
                schema.check_server(session)
                return work(session)
            finally:
                session.close()
        except psycopg.Error as error:
            raise translation(error, self.address.place) from error

    # Forks -------------------------------------------------------------------------------------------

    def after_fork(self) -> None:
        _of_the_parent.extend(self._idle)
        self._begin()


_of_the_parent: list[Session] = []
"""In a forked child: what is not to be closed."""
