"""The ceilings: for each broker the shortest loop that does a queue's work with its bare client, as durably.

Each module has `insert`, which stores jobs; and `work`, which claims and settles so many at a time until it
is told to stop, decodes each payload and awaits a coroutine. It has one process, one thread and one kind of
job; no leases, retries, time limits or events. `wake` and `hear` are the broker's own
wake-up, with a job in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from importlib import import_module
from typing import Protocol, cast
from urllib.parse import urlsplit

import msgspec

from bench.systems import jobs

MODULES = {"sqlite": "sqlite", "redis": "redis", "postgresql": "postgres", "amqp": "rabbitmq"}
PAUSE = 0.001
"""Seconds between two looks at an empty queue."""

BULK = 1000

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(tuple[str, float]).decode
Stopped = Callable[[], bool]


class Loop(Protocol):
    """What a module of a broker offers."""

    def prepare(self, url: str) -> None: ...

    def insert(self, url: str, payloads: Sequence[bytes]) -> None:
        """At most `BULK` in one transaction, or unconfirmed. All are safe when it returns."""

    async def work(self, url: str, batch: int, stopped: Stopped) -> None: ...

    def wake(self, url: str, payload: bytes) -> None: ...

    async def hear(self, url: str, stop: asyncio.Event) -> None: ...


async def until(stop: asyncio.Event, hearing: Coroutine[None, None, None]) -> None:
    """Call it off then. A first job says that it hears."""
    await jobs.arun("noop", 0.0)
    task = asyncio.ensure_future(hearing)
    await stop.wait()
    task.cancel()
    await asyncio.wait([task])


def slices(payloads: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (payloads[first : first + BULK] for first in range(0, len(payloads), BULK))


def loop(url: str) -> Loop:
    return cast("Loop", import_module(f"bench.bare.{MODULES[urlsplit(url).scheme]}"))
