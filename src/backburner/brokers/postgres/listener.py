"""The one connection of a process that listens, on a thread of its own.

1. It is opened with the first waiter and closed with the broker. It listens on the channel of this process,
   on which waiters are called by their numbers, and on that of the app, on which topics are named.
2. Another session sends it a message first. If that does not arrive there is a pooler in between that gives
   each statement another session (PgBouncer in transaction mode), and nothing is ever heard. That is said
   once; then the thread polls the table `waiting` for those who were taken off it.
3. A connection that broke is opened again with growing pauses. When it hears again every waiter is called
   once: something may have been missed. So it is when the first one took longer than a waiter would wait.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

import psycopg

from backburner.brokers.base import Operation
from backburner.brokers.forks import begins_anew
from backburner.brokers.postgres import schema
from backburner.brokers.postgres.database import Database
from backburner.brokers.postgres.session import ANSWER, Session, connect, readable
from backburner.brokers.postgres.steps import Do, once
from backburner.brokers.threads import Threads
from backburner.errors import BackburnerError

if TYPE_CHECKING:
    from backburner.brokers.postgres.wake import NotifyWaiter

logger = logging.getLogger("backburner")
T = TypeVar("T")
PROBE = 1.0
"""Seconds that the first message may take."""
DEAF = 60.0
"""Seconds of polling until listening is tried again."""
POLL = 0.1


class Listener:
    """Hears for all waiters of this process, and calls them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._everybody = schema.channel(database.address.schema)
        self._said = False
        self._begin()
        begins_anew(self)

    def _begin(self) -> None:
        self.channel = f"{self._everybody}:{os.urandom(4).hex()}"
        self.hears = False
        """Until a message has come through, and while the connection is gone, it does not."""
        self._polls = False
        self._lock = threading.Lock()
        self._waiters: dict[int, NotifyWaiter] = {}
        self._count = 0
        self._thread: threading.Thread | None = None
        self._tried = threading.Event()
        self._stop: tuple[int, int] | None = None
        self._registrar = Threads(1, "backburner-postgres-register")

    def add(self, waiter: NotifyWaiter, patience: float) -> int:
        """The number of a new waiter. Waits so long at most until the listening has begun."""
        with self._lock:
            if self._thread is None:
                self._tried.clear()
                self._stop = os.pipe()
                self._thread = threading.Thread(
                    target=self._run, args=(self._stop[0],), name="backburner-postgres-listen"
                )
                self._thread.start()
        self._tried.wait(patience)
        with self._lock:
            self._count += 1
            self._waiters[self._count] = waiter
            return self._count

    @property
    def reaches(self) -> bool:
        """Whether the table of those who wait can be reached."""
        return self.hears or self._polls

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Do it after all that was submitted before: a registration must not come after its own end."""
        return self._registrar.submit(work)

    def remove(self, number: int) -> None:
        self._waiters.pop(number, None)

    def close(self) -> None:
        with self._lock:
            thread, self._thread = self._thread, None
            stop, self._stop = self._stop, None
        if thread is not None and stop is not None:
            os.write(stop[1], b"!")
            thread.join()
            os.close(stop[0])
            os.close(stop[1])
        self._registrar.close()  # after the thread, which passes calls on by it
        self.hears = False

    # The thread --------------------------------------------------------------------------------------

    def _run(self, stop: int) -> None:
        pause = 0.1
        while True:
            try:
                session = connect(self._database.address.listen, ANSWER)
                try:
                    if self._begins(session):
                        pause = 0.1
                        self._hear(session, stop)
                    else:
                        self._poll(stop)
                finally:
                    self.hears = self._polls = False
                    session.close()
            except (psycopg.Error, BackburnerError):
                logger.debug("not listening", exc_info=True)
            self._tried.set()
            if _told(stop, pause * random.uniform(0.5, 1.0)):
                return
            pause = min(pause * 2, 2.0)

    def _begins(self, session: Session) -> bool:
        """Whether messages of other sessions arrive."""
        session.execute(f'LISTEN "{self._everybody}"'.encode())
        session.execute(f'LISTEN "{self.channel}"'.encode())
        self._database.run(once(Do("listen_probe", {"channel": self.channel})))
        end = time.monotonic() + PROBE
        while not self._messages(session):
            left = end - time.monotonic()
            if left <= 0:
                self._say()
                return False
            readable([session.fileno()], left)
        self.hears = True
        self._begun()
        return True

    def _begun(self) -> None:
        for waiter in list(self._waiters.values()):
            waiter.call()
        self._tried.set()

    def _say(self) -> None:
        if not self._said:
            self._said = True
            logger.warning(
                "no wake-ups from %s: a pooler in transaction mode is in between, so they are polled for; "
                "give a direct URL for listening, as in ?listen=postgresql%%3A%%2F%%2F…",
                self._database.address.place,
            )

    def _hear(self, session: Session, stop: int) -> None:
        """Until the connection breaks (an error), or the broker closes."""
        while stop not in readable([session.fileno(), stop], None):
            for channel, word in self._messages(session):
                if channel == self.channel:
                    if word != "probe":
                        self._call(word)
                else:
                    self._announce(word)

    def _poll(self, stop: int) -> None:
        """For a while; an error when the server goes."""
        self._polls = True
        self._begun()
        end = time.monotonic() + DEAF
        while time.monotonic() < end and not _told(stop, POLL):
            known = [(number, each) for number, each in list(self._waiters.items()) if each.registered]
            if known:
                left = self._database.run(_left(self.channel))
                for number, waiter in known:
                    if left.get(number, 0) < len(waiter.topics):
                        waiter.call()

    def _messages(self, session: Session) -> list[tuple[str, str]]:
        session.pgconn.consume_input()
        found = []
        while message := session.pgconn.notifies():
            found.append((message.relname.decode(), message.extra.decode()))
        return found

    def _call(self, word: str) -> None:
        number, _, topic = word.partition(" ")
        waiter = self._waiters.get(int(number))
        if waiter is not None:
            waiter.call()
        elif topic:  # it had stopped waiting when this came: the call is for another one
            self.submit(lambda: self._database.run(once(Do("wake", {"topic": topic}))))

    def _announce(self, topic: str) -> None:
        for waiter in list(self._waiters.values()):
            if topic in waiter.topics or not topic:
                waiter.call()

    def after_fork(self) -> None:
        self._begin()


def _left(channel: str) -> Operation[dict[int, int]]:
    """How many topics of each waiter are on the table."""
    return dict((yield Do("listen_left", {"channel": channel})))


def _told(stop: int, seconds: float) -> bool:
    """Whether the thread is told to end within that time."""
    return bool(readable([stop], seconds))
