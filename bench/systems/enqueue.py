"""The ways to enqueue, all timed alike: the first job, which opens connections, is not timed.

With a rate jobs go at random times that have nothing to do with each other; each carries when it was sent.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.systems.adapter import Adapter

THREADS = 50
Coming = Iterator[float]
Async = Callable[[Adapter, str, str, Coming], Awaitable[None]]


def enqueue(
    adapter: Adapter, how: str, kind: str, job: str, count: int, rate: float | None
) -> dict[str, Any]:
    """How many were timed, and the seconds that they took."""
    values = _paced(count, rate) if rate else iter([float(number) for number in range(count)])
    method, way = WAYS[how]
    if method.startswith("a"):
        seconds = asyncio.run(_timed(adapter, way, kind, job, values))
    else:
        way(adapter, kind, job, iter([next(values)]))
        began = time.perf_counter()
        way(adapter, kind, job, values)
        seconds = time.perf_counter() - began
    return {"jobs": count - 1, "seconds": seconds}


async def _timed(adapter: Adapter, way: Async, kind: str, job: str, values: Coming) -> float:
    async with adapter.opened():
        await way(adapter, kind, job, iter([next(values)]))
        began = time.perf_counter()
        await way(adapter, kind, job, values)
        return time.perf_counter() - began


def _paced(count: int, rate: float) -> Coming:
    due = time.time()
    for _ in range(count):
        due += random.expovariate(rate)
        time.sleep(max(0.0, due - time.time()))
        yield time.time()


def _singly(adapter: Adapter, kind: str, job: str, values: Coming) -> None:
    for value in values:
        adapter.send(kind, job, value)


async def _singly_async(adapter: Adapter, kind: str, job: str, values: Coming) -> None:
    for value in values:
        await adapter.asend(kind, job, value)


def _from_threads(adapter: Adapter, kind: str, job: str, values: Coming) -> None:
    waiting = list(values)
    shares = [iter(waiting[number::THREADS]) for number in range(min(THREADS, len(waiting)))]
    with ThreadPoolExecutor(THREADS) as pool:
        for each in [pool.submit(_singly, adapter, kind, job, share) for share in shares]:
            each.result()


async def _together(adapter: Adapter, kind: str, job: str, values: Coming) -> None:
    await asyncio.gather(*(_singly_async(adapter, kind, job, values) for _ in range(THREADS)))


def _in_bulk(adapter: Adapter, kind: str, job: str, values: Coming) -> None:
    adapter.send_many(kind, job, list(values))


async def _in_bulk_async(adapter: Adapter, kind: str, job: str, values: Coming) -> None:
    await adapter.asend_many(kind, job, list(values))


def _later(adapter: Adapter, kind: str, job: str, values: Coming) -> None:
    adapter.send_later_many(kind, job, list(values))


async def _later_async(adapter: Adapter, kind: str, job: str, values: Coming) -> None:
    await adapter.asend_later_many(kind, job, list(values))


def _awaited(adapter: Adapter, kind: str, job: str, values: Coming) -> None:
    adapter.call_many(kind, job, list(values))


async def _awaited_async(adapter: Adapter, kind: str, job: str, values: Coming) -> None:
    await adapter.acall_many(kind, job, list(values))


WAYS: dict[str, tuple[str, Any]] = {
    "single": ("send", _singly),
    "threads": ("send", _from_threads),
    "bulk": ("send_many", _in_bulk),
    "later": ("send_later_many", _later),
    "awaited": ("call_many", _awaited),
    "async": ("asend", _singly_async),
    "together": ("asend", _together),
    "async-bulk": ("asend_many", _in_bulk_async),
    "async-later": ("asend_later_many", _later_async),
    "async-awaited": ("acall_many", _awaited_async),
}
"""Each with what an adapter must have for it."""
