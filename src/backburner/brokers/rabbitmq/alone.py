"""What threads enqueue one after the other, without the thread of `background.py` in between.

1. A process that has enqueued a few lone messages without a pause gets a connection for them (`session.py`).
   A thread opens it, so that nobody waits for that; it closes it when there was a pause, and ends.
2. One thread uses the connection at a time. Who finds it taken or not there, or has a message for a queue
   that was not declared yet, goes the usual way, which is the publisher's.
3. Whatever goes wrong (the connection is lost, the server says nothing, the message comes back) closes the
   connection, and the message goes the usual way: that tries again, and tells why. It may have arrived, and
   then is there twice, as when the publisher tries again.
4. An alarm is waited for here, within the same patience: the server has the message, and may still take it.
5. An exception may be thrown into a thread that waits (a time limit, Ctrl-C). The next answer then belongs to
   nobody: the connection is closed.

By way of the background, a lone enqueue took 501 microseconds of processor time where it takes 188, and
pika's blocking client 296 (decision 51).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress

from backburner.brokers.rabbitmq.address import Address
from backburner.brokers.rabbitmq.link import GOODBYE, HANDSHAKE
from backburner.brokers.rabbitmq.publisher import Batch
from backburner.brokers.rabbitmq.session import TROUBLE, Session, opened
from backburner.errors import ConfigError

logger = logging.getLogger("backburner")
FEW = 10
"""Lone messages without a pause, after which more are expected."""
PAUSE = 10.0
"""Seconds; far less than after what a server misses the heartbeats, which are not sent here."""


class Alone:
    """The connection of one process, for one server. A forked child makes another object."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._idle: deque[Session] = deque()
        """Taken out while it is used: an exception that is thrown in loses a connection, and no lock."""
        self._kept = False
        """Whether a thread sees to it that it is closed."""
        self._used_at = 0.0
        self._asked = 0
        self._asked_at = 0.0
        self._starting = threading.Lock()
        """Only tried: of 200 threads that began at once, several opened one."""
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def publish(self, batch: Batch) -> bool:
        """Whether its only message is stored; if not, or not for sure, it has to go the usual way.

        Raises `BrokerUnavailable` when patience with an alarm is over.
        """
        try:
            session = self._idle.pop()
        except IndexError:
            self._count(batch.asked_at)
            return False
        stored = False
        try:
            session.publish(batch.left[0], batch.silence * self._address.patience, self._address.patience)
            stored = True
        except TROUBLE as error:
            logger.debug("%s: a message goes another way: %r", self._address.shown, error)
        finally:
            if not stored:
                session.cut()
        if stored:
            self._used_at = batch.asked_at
            self._give_back(session)
        return stored

    def close(self) -> None:
        """For good."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(HANDSHAKE + GOODBYE)

    def _give_back(self, session: Session) -> None:
        self._idle.append(session)
        if not self._kept:
            self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    def _count(self, now: float) -> None:
        self._asked = self._asked + 1 if now - self._asked_at < PAUSE else 1
        self._asked_at = now
        if self._asked >= FEW and self._starting.acquire(blocking=False):
            try:
                self._asked = 0
                self._start()
            finally:
                self._starting.release()

    def _start(self) -> None:
        if self._ended.is_set() or (self._thread is not None and self._thread.is_alive()):
            return
        thread = threading.Thread(target=self._keep, name="backburner-rabbitmq-alone", daemon=True)
        with suppress(RuntimeError):  # there are too many threads: it goes without
            thread.start()
            self._thread = thread

    def _keep(self) -> None:
        """Open it, and close it when there was a pause."""
        try:
            session = opened(self._address)
        except (*TROUBLE, ConfigError) as error:
            logger.debug("%s: no connection for lone messages: %r", self._address.shown, error)
            self._ended.wait(PAUSE)
            return
        self._kept, self._used_at = True, time.monotonic()
        self._give_back(session)
        pause = 0.0
        while pause < PAUSE and not self._ended.wait(PAUSE - pause):
            pause = time.monotonic() - self._used_at
        self._kept = False
        self._close_idle()
