"""The database as one process uses it: one connection for all of its threads, and group commit.

1. What an operation writes is one transaction, with a full sync.
2. Group commit without timers: operations that arrive while a transaction is being written wait in line
   together and share the next one. Each has its own savepoint, so one that fails takes nothing with it.
   Whoever gets the lock first performs the group; the others find their answer when they get it.
3. An exception may be thrown into the performing thread at any point (a time limit, Ctrl-C). So a group
   leaves the line only when each operation in it has its answer: the other threads wait for that. An event
   loop is told by the database's own thread alone, which nobody interrupts.
4. Before a fork the connection is closed. SQLite's locks are the process's own: a child that inherited a
   connection would write without them, and lose its jobs when the parent closed the file.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any, TypeVar

from backburner.brokers.base import Operation
from backburner.brokers.sql import statements
from backburner.brokers.sqlite import schema
from backburner.brokers.sqlite.errors import OWN_FAULT, translated, translation
from backburner.brokers.sqlite.own import plain
from backburner.brokers.sqlite.steps import Begin, Do, DoMany, Savepoint, Wake
from backburner.errors import BrokerError, BrokerUnavailable, ConfigError, LeaseLost

T = TypeVar("T")
SQL = statements(schema.PACKAGE)
MEMORY = ":memory:"
BUSY_TIMEOUT = 10.0
GROUP = 500
"""Operations that share a transaction at most; a bound on how long one commit can take."""


class Pending:
    """An operation in line, and its answer.

    Not a Future: one whose thread is interrupted at the wrong moment keeps its lock for ever.
    """

    __slots__ = ("answer", "cancelled", "operation")

    def __init__(self, operation: Generator[Any, Any, Any]) -> None:
        self.operation = operation
        self.answer: tuple[Any, BaseException | None] | None = None
        self.cancelled = False

    def result(self) -> Any:
        assert self.answer is not None
        value, error = self.answer
        if error is not None:
            raise error
        return value


class Database:
    """The file at `path`, or a database in memory. `wake` is told what to wake after each commit."""

    def __init__(self, path: str, wake: Callable[[Mapping[str, int]], None]) -> None:
        self.path = path
        self._wake = wake
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._line: deque[Pending] = deque()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._thread: ThreadPoolExecutor | None = None
        self._thread_lock = threading.Lock()
        _databases.add(self)

    def run(self, operation: Operation[T]) -> T:
        pending = Pending(operation)
        self._line.append(pending)
        result: T = self._result(pending)
        return result

    def arun(self, operation: Operation[T]) -> asyncio.Future[T]:
        pending = Pending(operation)
        self._line.append(pending)
        with self._thread_lock:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="backburner-sqlite")
            # This thread alone tells the loop: whoever performs the group may be interrupted at any point.
            waiting = asyncio.wrap_future(self._thread.submit(self._result, pending))
        waiting.add_done_callback(lambda done: setattr(pending, "cancelled", done.cancelled()))
        return waiting

    def _result(self, pending: Pending) -> Any:
        with self._lock:
            while pending.answer is None:
                self._perform_group()
        return pending.result()

    def run_on(self, given: Any, operation: Operation[T]) -> T:
        """Within the caller's transaction, which is begun if there is none. All or nothing of it happens."""
        connection = plain(given)
        cursor = connection.cursor()
        cursor.row_factory = None
        with translated(self.path):
            if schema.version(cursor) != schema.VERSION:
                operation.close()
                raise ConfigError(
                    "that connection's database has no Backburner tables of this version: enqueue in a "
                    f"transaction works on the app's own file, {self.path}; open the app on it first"
                )
            if not connection.in_transaction:
                cursor.execute("BEGIN IMMEDIATE")
            connection.execute("SAVEPOINT operation")
            try:
                # The caller commits later, so nobody can be woken now: waiters find it by their poll.
                return _drive(cursor, operation, {})
            except LeaseLost:
                connection.execute("ROLLBACK")  # all of it: what the caller wrote must not be committed
                raise
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK TO operation")
                raise
            finally:
                if connection.in_transaction:
                    connection.execute("RELEASE operation")

    def migrate(self) -> list[str]:
        """Bring the schema up to date; the names of the migrations applied."""
        with self._lock, translated(self.path):
            connection = self._connection or self._connect()
            try:
                return schema.migrate(connection, self.path)
            finally:
                if connection is not self._connection:
                    connection.close()

    def close(self) -> None:
        with self._thread_lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown()
        with self._lock:
            self._disconnect()

    # Group commit ------------------------------------------------------------------------------------

    def _perform_group(self) -> None:
        group = [self._line[i] for i in range(min(len(self._line), GROUP))]
        done: list[tuple[Pending, Any]] = []
        wakes: dict[str, int] = {}
        try:
            with translated(self.path):
                self._commit(group, done, wakes)
            _answer(done)
        except BaseException as error:
            _answer(done)
            _refuse(group, error)
            if not isinstance(error, Exception):
                raise
        finally:
            while self._line and self._line[0].answer is not None:
                self._line.popleft()
        self._wake(wakes)

    def _commit(self, group: list[Pending], done: list[tuple[Pending, Any]], wakes: dict[str, int]) -> None:
        connection = self._open()
        try:
            for pending in group:
                if pending.cancelled:
                    pending.answer = None, CancelledError()
                elif pending.answer is None:
                    self._perform(connection, pending, done, wakes)
            if connection.in_transaction:
                connection.execute("COMMIT")
        except BaseException as error:
            # One that was thrown in right after the commit changes nothing: `done` is done.
            if connection.in_transaction or isinstance(error, sqlite3.Error):
                done.clear()
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _perform(
        self,
        connection: sqlite3.Connection,
        pending: Pending,
        done: list[tuple[Pending, Any]],
        wakes: dict[str, int],
    ) -> None:
        own: dict[str, int] = {}
        shared = connection.in_transaction
        if shared:
            connection.execute("SAVEPOINT operation")
        try:
            done.append((pending, _drive(connection.cursor(), pending.operation, own)))
            _add(wakes, own)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and not isinstance(error, OWN_FAULT):
                raise  # the file's trouble is everybody's
            if shared:
                connection.execute("ROLLBACK TO operation")
            elif connection.in_transaction:
                connection.execute("ROLLBACK")
            pending.answer = None, translation(error, self.path)
        if shared:
            connection.execute("RELEASE operation")

    # The connection ----------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        if self.path == MEMORY:
            if self._process != os.getpid():
                raise BrokerError(
                    "a queue in memory belongs to the process that made it, and this one was forked from "
                    "that: name a file, as in sqlite:///jobs.db"
                )
        elif self._connection is not None and self._inode != _inode(self.path):
            self._disconnect()  # deleted, or replaced by a backup: what goes to the old file would be lost
        if self._connection is None:
            connection = self._connect()
            try:
                schema.check(connection, self.path)
            except BaseException:
                connection.close()
                raise
            self._connection, self._inode = connection, _inode(self.path)
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            _use_write_ahead_log(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -8000")
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def before_fork(self) -> None:
        self._lock.acquire()
        if self.path != MEMORY:
            self._disconnect()

    def after_fork(self, *, child: bool) -> None:
        if child:  # the other threads stayed behind, and with them whoever waits in line
            self._line.clear()
            self._thread = None
            self._thread_lock = threading.Lock()
        self._lock.release()


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch a new file over. SQLite does not wait for the lock here, and two may open a new file at once."""
    end = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.005)
        else:
            return


def _drive(cursor: sqlite3.Cursor, operation: Operation[T], wakes: dict[str, int]) -> T:
    """Perform the statements of an operation; `wakes` gathers the topics to wake after the commit."""
    reply: Any = None
    own = cursor.connection.in_transaction
    try:
        while True:
            step = operation.send(reply)
            match step:
                case Do():
                    reply = _rows(cursor, step)
                case DoMany():
                    reply = cursor.executemany(SQL[step.name], step.rows).rowcount
                case Wake():
                    _add(wakes, step.counts)
                    reply = None
                case Begin():
                    if not own:
                        cursor.execute("BEGIN IMMEDIATE")
                        own = True
                    reply = None
                case Savepoint():
                    cursor.execute(_SAVEPOINTS[step.action])
                    reply = None
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        cursor.close()
        operation.close()


def _add(wakes: dict[str, int], more: Mapping[str, int]) -> None:
    """As `Counter.update`, which takes a microsecond to begin."""
    for topic, count in more.items():
        wakes[topic] = wakes.get(topic, 0) + count


def _rows(cursor: sqlite3.Cursor, step: Do) -> list[tuple[Any, ...]]:
    """The rows of a statement; from the first text that is no UTF-8 on this connection reads any."""
    statement = SQL[step.name]
    try:
        return cursor.execute(statement, step.parameters).fetchall()
    except sqlite3.OperationalError as error:
        if "decode to UTF-8" not in str(error):
            raise
        cursor.connection.text_factory = schema.readable
        if "RETURNING" in statement:  # it has written, which is undone: the next try reads what it returns
            raise BrokerUnavailable(
                f"a damaged record was met, and is read with the next try ({error})"
            ) from error
        return cursor.execute(statement, step.parameters).fetchall()


_SAVEPOINTS = {"set": "SAVEPOINT part", "undo": "ROLLBACK TO part", "keep": "RELEASE part"}


def _answer(done: list[tuple[Pending, Any]]) -> None:
    for pending, result in done:
        pending.answer = result, None


def _refuse(group: list[Pending], error: BaseException) -> None:
    """Give `error` to those without an answer; `BrokerUnavailable` if it was meant for this thread alone."""
    if not isinstance(error, Exception):
        error = BrokerUnavailable(
            f"the thread that wrote for this one was interrupted ({type(error).__name__}); nothing was stored"
        )
    for pending in group:
        if pending.answer is None:
            pending.answer = None, error
            pending.operation.close()


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


# Every open database of this process, for the hooks around a fork.
_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_forking: list[Database] = []


def _before_fork() -> None:
    _forking[:] = _databases
    for database in _forking:
        database.before_fork()


def _after_fork(*, child: bool) -> None:
    while _forking:
        _forking.pop().after_fork(child=child)


os.register_at_fork(
    before=_before_fork,
    after_in_parent=lambda: _after_fork(child=False),
    after_in_child=lambda: _after_fork(child=True),
)
