"""Waiting for work, in a thread or on an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection
from contextlib import suppress


class WorkWaiter:
    """Woken when a message of one of its queues was delivered here."""

    def __init__(self, queues: Collection[str]) -> None:
        self.queues = frozenset(queues)
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def wake(self) -> None:
        with self._lock:
            self._woken.set()
            if self._waiting is not None:
                loop, event = self._waiting
                with suppress(RuntimeError):  # that loop has ended, and who waited on it with it
                    loop.call_soon_threadsafe(event.set)

    def wait(self, timeout: float | None) -> bool:
        woken = self._woken.wait(timeout)
        self._woken.clear()
        return woken

    async def wait_async(self, timeout: float | None) -> bool:
        event = asyncio.Event()
        with self._lock:
            self._waiting = (asyncio.get_running_loop(), event)
            if self._woken.is_set():
                event.set()
        try:
            await asyncio.wait_for(event.wait(), timeout)
        except TimeoutError:
            return False
        finally:
            with self._lock:
                self._waiting = None
                woken = self._woken.is_set()
                self._woken.clear()
        return woken
