"""Signals between a test and the jobs that it runs: nothing here sleeps."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from backburner import Backburner, Job, JobCancelled, JobFailed
from backburner.brokers.base import Broker
from backburner.brokers.rabbitmq.results import RabbitWithResults
from backburner.events import Event, JobEvent
from backburner.job import JobRecord

KINDS = ("coroutine", "thread", "process")
"""The tasks of `kinds.py` are named `KIND.NAME`."""
LONG = 20.0
"""Seconds: more than any wait in these tests takes."""
E = TypeVar("E", bound=Event)


class Seen:
    """The events of one app, in order; a test can wait for the next one of a kind."""

    def __init__(self, app: Backburner) -> None:
        self.events: list[Event] = []
        self._loop = asyncio.get_running_loop()
        self._new = asyncio.Event()
        app.on(Event)(self._add)

    def _add(self, event: Event) -> None:
        self.events.append(event)
        self._loop.call_soon_threadsafe(self._new.set)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def wait(self, kind: type[E], count: int = 1) -> list[E]:
        """The first `count` events of a kind, once there are so many."""
        async with asyncio.timeout(LONG):
            while len(found := self.of(kind)) < count:
                self._new.clear()
                await self._new.wait()
        return found[:count]

    def names(self, *kinds: type[JobEvent]) -> list[str]:
        """The class names of what was seen of these kinds."""
        return [type(event).__name__ for event in self.events if isinstance(event, kinds)]


class Pipe:
    """A named pipe: a job in any kind of executor writes a line and the test awaits it, or the reverse."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        # Open for both, so that neither side ever waits for the other to open it.
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    async def read(self) -> str:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._descriptor, ready.set)
        try:
            async with asyncio.timeout(LONG):
                await ready.wait()
        finally:
            loop.remove_reader(self._descriptor)
        return os.read(self._descriptor, 4096).decode().strip()

    def write(self, text: str) -> None:
        os.write(self._descriptor, f"{text}\n".encode())

    def close(self) -> None:
        os.close(self._descriptor)


def say(path: str, text: str = "begun") -> None:
    """The job's side of `Pipe.read`."""
    with Path(path).open("w", encoding="utf-8") as pipe:
        pipe.write(f"{text}\n")


def hear(path: str) -> str:
    """The job's side of `Pipe.write`; blocks."""
    with Path(path).open(encoding="utf-8") as pipe:
        return pipe.readline().strip()


async def ended(job: Job[Any]) -> JobRecord:
    """The job's record once it has reached a final state."""
    with suppress(JobFailed, JobCancelled):
        await job.aresult(timeout=LONG)
    return job.record


async def within(event: asyncio.Event) -> None:
    """Wait for an event that comes soon, or fail."""
    async with asyncio.timeout(LONG):
        await event.wait()


def on_clock(app: Backburner, clock: Callable[[], float]) -> Broker:
    """The app's broker with another clock."""
    broker = app.broker
    if isinstance(broker, RabbitWithResults):
        return RabbitWithResults(broker.url, _on_clock(broker.results, clock))
    return _on_clock(broker, clock)


def _on_clock(broker: Any, clock: Callable[[], float]) -> Broker:
    made: Broker = type(broker)(broker.url, clock)
    return made
