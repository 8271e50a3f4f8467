"""Wake-ups between processes over `LISTEN` and `NOTIFY`, which cost nothing while nobody waits.

1. Who waits registers in the table `waiting`: its topics, the channel of its process, its number. A
   statement that makes work takes as many as there is work for off that table, and notifies just their
   channels. Who was woken registers again when it waits again, and then looks twice.
2. A process has one connection that listens, on a thread of its own (`listener.py`), for all its waiters.
3. The race: a statement looks at the table, then commits. Who registers in between is not told, and who then
   looked before the commit saw nothing. So the first wait after a registration ends soon, for one more look;
   what commits later than that (a slow disk) is found by the next look, after a second, and then every five.
   In a caller's own transaction the commit may come much later: that tells all who listen.
4. Behind PgBouncer in transaction mode nothing can be heard. Then the thread looks ten times a second who was
   taken off the table, and what a caller committed is found by a look, twice a second.
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
DEAF = 0.5
"""Seconds of one wait where a caller's commit is not heard, nor anything while the server is away."""
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
            registration = waiter.register()
            if registration is not None:
                with suppress(TimeoutError, BackburnerError):  # then what it waits for is found by a look
                    registration.result(PATIENCE)
            yield waiter
        finally:
            waiter.end()

    def close(self) -> None:
        self._listener.close()


class NotifyWaiter:
    """Waits for its number to be called by the listener's thread."""

    def __init__(self, database: Database, listener: Listener, topics: Sequence[str]) -> None:
        self.topics = [*dict.fromkeys(topics)]
        self.registered = False
        """Its topics are on the table, unless somebody has taken it off."""
        self._database = database
        self._listener = listener
        self._called = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event | None = None
        self._expires = 0.0
        self._pause = SOON
        self._second = False
        self._number = listener.add(self, PATIENCE)

    def call(self) -> None:
        """Something may have happened. From any thread."""
        self.registered = False
        self._called.set()
        loop, woken = self._loop, self._woken
        if loop is not None and woken is not None:
            with suppress(RuntimeError):  # the loop has ended, and with it whoever waited there
                loop.call_soon_threadsafe(woken.set)

    def wait(self, timeout: float | None) -> bool:
        self._renew()
        pause = self._next(timeout)
        self._called.wait(pause)
        return self._woke(pause)

    async def wait_async(self, timeout: float | None) -> bool:
        self._loop, self._woken = asyncio.get_running_loop(), asyncio.Event()
        self._renew()
        pause = self._next(timeout)
        try:
            if not self._called.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), pause)
        finally:
            self._loop = self._woken = None
        return self._woke(pause)

    def _woke(self, pause: float) -> bool:
        if self._called.is_set():
            self._called.clear()
            self._expires = 0.0
            self._second = True
            return True
        # What happened before it was on the table again was not told: whoever was woken looks twice.
        second, self._second = self._second and pause == SOON, False
        return second

    def _next(self, timeout: float | None) -> float:
        pause = self._pause
        self._pause = LATER if pause < LATER else LONGEST
        if not self._listener.hears:
            pause = min(pause, DEAF)
        return pause if timeout is None else min(pause, timeout)

    def _renew(self) -> None:
        if time.monotonic() > self._expires - EXPIRY / 2:
            self.register()

    def register(self) -> Future[Any] | None:
        """Put it on the table; the next wait is short."""
        self._pause = SOON
        self._expires = time.monotonic() + EXPIRY
        if not self.topics or not self._listener.reaches:
            return None
        given = {"topics": self.topics, "seconds": EXPIRY, **self._name()}
        return self._listener.submit(lambda: self._put(given))

    def _put(self, given: dict[str, Any]) -> None:
        self._database.run(once(Do("listen", given)))
        self.registered = True

    def end(self) -> None:
        self._listener.remove(self._number)
        if self._listener.reaches and (self.registered or len(self.topics) > 1):
            given = self._name()
            self._listener.submit(lambda: self._database.run(once(Do("listen_end", given))))

    def _name(self) -> dict[str, Any]:
        return {"channel": self._listener.channel, "waiter": self._number}
