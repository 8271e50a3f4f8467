"""Wake-ups between processes over `LISTEN` and `NOTIFY`, which cost nothing while nobody waits.

1. Who waits registers in the table `waiting`: its topics, the channel of its process, its number. A statement that
   makes work takes as many as there is work for off that table, and notifies just their channels.
2. A process has one connection that listens, on a thread of its own (`listener.py`), for all of its waiters.
3. The race: a statement looks at the table, then commits. Who registers in between is not told, and who then looked
   before the commit saw nothing. So the first wait after a registration ends soon, for one more look; what commits
   later than that (a slow disk) is found by the next look, after a second, and then every five.
   In a caller's own transaction the commit may come much later: that tells all who listen.
4. While nothing can be heard (no connection, or PgBouncer in transaction mode) waiters look ten times a second.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

from backburner.brokers.postgres.database import Database
from backburner.brokers.postgres.listener import Listener
from backburner.brokers.postgres.steps import Do, once
from backburner.errors import BackburnerError

SOON = 0.02
LATER = 1.0
LONGEST = 5.0
"""Seconds of one wait at most: a wake-up can be missed, and whoever waits looks again after each wait."""
POLL = 0.1
EXPIRY = 60.0
"""Seconds after which a registration is taken for one of a dead process."""
PATIENCE = 0.25
"""Seconds that a registration may hold up whoever begins to wait, perhaps an event loop."""


class Wakes:
    """All who wait in this process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listener = Listener(database)

    @contextmanager
    def listen(self, topics: Sequence[str]) -> Iterator[NotifyWaiter]:
        waiter = NotifyWaiter(self._database, self._listener, topics)
        try:
            waiter.register().result_within(PATIENCE)
            yield waiter
        finally:
            waiter.end()

    def close(self) -> None:
        self._listener.close()


class Registration:
    """A registration on its way to the server."""

    def __init__(self, future: Future[Any] | None) -> None:
        self._future = future

    def result_within(self, seconds: float) -> None:
        """Wait for it so long at most. What failed is no harm: then the waiter polls."""
        if self._future is not None:
            with suppress(TimeoutError, BackburnerError):
                self._future.result(seconds)


class NotifyWaiter:
    """Waits for its number to be called by the listener's thread."""

    def __init__(self, database: Database, listener: Listener, topics: Sequence[str]) -> None:
        self._database = database
        self._listener = listener
        self._topics = [*topics]
        self._called = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event | None = None
        self._expires = 0.0
        self._pause = SOON
        self._number = listener.add(self, PATIENCE)

    @property
    def topics(self) -> Sequence[str]:
        return self._topics

    def call(self) -> None:
        """Something may have happened. From any thread."""
        self._called.set()
        loop, woken = self._loop, self._woken
        if loop is not None and woken is not None:
            with suppress(RuntimeError):  # the loop has ended, and with it whoever waited there
                loop.call_soon_threadsafe(woken.set)

    def wait(self, timeout: float | None) -> bool:
        self._renew().result_within(PATIENCE)
        return self._woke(self._called.wait(self._next(timeout)))

    async def wait_async(self, timeout: float | None) -> bool:
        self._loop, self._woken = asyncio.get_running_loop(), asyncio.Event()
        try:
            self._renew()
            if not self._called.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), self._next(timeout))
        finally:
            self._loop = self._woken = None
        return self._woke(self._called.is_set())

    def _woke(self, called: bool) -> bool:
        if called:
            self._called.clear()
            self._expires = 0.0  # it was taken off the table
        return called

    def _next(self, timeout: float | None) -> float:
        pause = self._pause
        self._pause = LATER if pause < LATER else LONGEST
        if not self._listener.hears:
            pause = min(pause, POLL)
        return pause if timeout is None else min(pause, timeout)

    def _renew(self) -> Registration:
        if time.monotonic() > self._expires - EXPIRY / 2:
            return self.register()
        return Registration(None)

    def register(self) -> Registration:
        """Put it on the table; the next wait is short."""
        self._pause = SOON
        self._expires = time.monotonic() + EXPIRY
        if not self._topics or not self._listener.hears:
            return Registration(None)
        given = {"topics": self._topics, "seconds": EXPIRY, **self._name()}
        return Registration(self._submit("listen", given))

    def end(self) -> None:
        self._listener.remove(self._number)
        if self._topics and self._listener.hears:
            self._submit("listen_end", self._name())

    def _name(self) -> dict[str, Any]:
        return {"channel": self._listener.channel, "waiter": self._number}

    def _submit(self, name: str, given: dict[str, Any]) -> Future[Any]:
        return self._database.submit(lambda: self._database.run(once(Do(name, given))))
