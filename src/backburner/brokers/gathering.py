"""Operations whose first step others of the same time share (`together.py`), performed for an event loop.

1. Only an enqueue begins on the loop itself, to be in line at once. What other operations do first would keep
   the loop: to encode the settlements of an exchange takes a microsecond each.
2. What shares no step, or goes on after it, is performed on a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from backburner.brokers.base import Operation

T = TypeVar("T")
GATHERING = "enqueue"
FEW = 10
"""Jobs of one enqueue that travel with those of others. More are worth a request of their own, which another
connection may perform meanwhile.
"""


class OnThread(Protocol):
    """Performs an operation on a thread; `step` is its first one, if it has begun."""

    def __call__(self, operation: Operation[T], step: Any) -> Awaitable[T]: ...


def gathered(
    operation: Operation[T], shared: Callable[[Any], Awaitable[Any] | None], on_thread: OnThread
) -> Awaitable[T]:
    """`shared` gives the reply to a step that is performed with others', or nothing."""
    if getattr(operation, "__name__", "") != GATHERING:
        return on_thread(operation, None)
    try:
        step = next(operation)
    except StopIteration as stop:
        return _known(stop.value)
    reply = shared(step)
    return on_thread(operation, step) if reply is None else _after(reply, operation, on_thread)


async def _after(reply: Awaitable[Any], operation: Operation[T], on_thread: OnThread) -> T:
    try:
        step = operation.send(await reply)
    except StopIteration as stop:
        result: T = stop.value
        return result
    return await on_thread(operation, step)


def _known(result: T) -> asyncio.Future[T]:
    future = asyncio.get_running_loop().create_future()
    future.set_result(result)
    return future
