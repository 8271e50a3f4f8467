"""One connection to the server, which never waits for ever."""

from __future__ import annotations

import select
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg.waiting import Ready

ANSWER = 20.0
"""Seconds that a statement may take. Those of the hot path wait 8 s for a lock at most."""
LONG_ANSWER = 120.0
"""Seconds for a lookup, which may count millions of jobs."""


class Session(psycopg.Connection[tuple[Any, ...]]):
    """psycopg's connection with a deadline: a frozen server keeps its connections open and says nothing."""

    deadline = 0.0
    _spare: psycopg.Cursor[tuple[Any, ...]] | None = None
    """Making one takes a third of a short call. It keeps its last answer: not a long one."""

    def wait(self, gen: Any, *_: Any, **__: Any) -> Any:
        poll = select.poll()
        file = self.fileno()
        try:
            wanted = next(gen)
            while True:
                poll.register(file, _EVENTS[wanted])
                left = self.deadline - time.monotonic()
                events = poll.poll(left * 1000) if left > 0 else []
                if not events:
                    gen.close()
                    raise psycopg.OperationalError("the server did not answer in time")
                event = events[0][1]
                ready = (Ready.R if event & ~select.POLLOUT else 0) | (
                    Ready.W if event & select.POLLOUT else 0
                )
                wanted = gen.send(ready)
        except StopIteration as stop:
            return stop.value

    def ask(self, statement: bytes, parameters: Mapping[str, Any], seconds: float) -> list[tuple[Any, ...]]:
        """The rows of one statement."""
        self.deadline = time.monotonic() + seconds
        cursor, self._spare = self._spare or self.cursor(), None
        cursor.execute(statement, parameters, prepare=False)
        rows = cursor.fetchall()
        if len(rows) <= 1:
            self._spare = cursor
        return rows

    @property
    def idle(self) -> bool:
        return not self.closed and self.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE

    @property
    def usable(self) -> bool:
        """Idle, with nothing from the server: that would be the news that it has closed the session."""
        return self.idle and not readable([self.fileno()], 0)


_EVENTS = {1: select.POLLIN, 2: select.POLLOUT, 3: select.POLLIN | select.POLLOUT}


def readable(files: Sequence[int], seconds: float | None) -> list[int]:
    """Which of them have something to read within that time. `select()` takes no file from 1024 on."""
    poll = select.poll()
    for file in files:
        poll.register(file, select.POLLIN)
    return [file for file, _ in poll.poll(None if seconds is None else seconds * 1000)]


def connect(conninfo: Mapping[str, Any], seconds: float) -> Session:
    """Open a session: autocommit, and no prepared statement that a pooler could lose."""
    session = Session.connect(**conninfo, autocommit=True, prepare_threshold=None, client_encoding="utf8")
    session.deadline = time.monotonic() + seconds
    return session
