"""What each event loop of a process has of its own, as a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class OfOneLoop(Protocol):
    """What one loop has."""

    def close_soon(self) -> None:
        """From any thread; also when the loop was closed, which closes no sockets."""


T = TypeVar("T", bound=OfOneLoop)


class Loops(Generic[T]):
    """`make` makes what a loop has when it is asked for first. A forked child makes another object."""

    def __init__(self, make: Callable[[asyncio.AbstractEventLoop], T]) -> None:
        self._make = make
        self._each: dict[asyncio.AbstractEventLoop, T] = {}

    def of_this(self) -> T:
        """What the running loop has."""
        loop = asyncio.get_running_loop()
        found = self._each.get(loop)
        if found is None:
            self._sweep()
            found = self._each[loop] = self._make(loop)
        return found

    def close(self) -> None:
        """Let go of all."""
        each, self._each = self._each, {}
        for found in list(each.values()):
            found.close_soon()

    def _sweep(self) -> None:
        """Forget the loops that have ended."""
        for loop in list(self._each):
            if loop.is_closed() and (found := self._each.pop(loop, None)) is not None:
                found.close_soon()
