"""What coroutines enqueue, without the thread of `background.py` in between: a publisher on their event loop.

1. A loop that has enqueued a few times gets one: a program may make a loop for each of its calls.
2. A lone message is sent in the turn in which it is asked for (`try_at_once`), without a task. Whatever
   stands in its way is left to the publisher, which does on this loop what it does on that of the background.
3. What is called off meanwhile was sent all the same, and is not sent again.
4. A loop that was closed closes no sockets: that is done when the next loop comes, or the broker is closed.

By way of the background, an enqueue of a coroutine took 578 microseconds of processor time where it takes
332, and 365 where it takes 104 when fifty enqueue at once (decision 51).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from backburner.brokers.rabbitmq.message import Message
from backburner.brokers.rabbitmq.publisher import Batch, Publisher
from backburner.brokers.shield import shielded

FEW = 10
"""Enqueues after which a loop is thought to go on."""


class OnLoop:
    """The publisher of one loop, made by `make`. All but `close_soon` is for the loop's thread."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, make: Callable[[], Publisher], patience: float
    ) -> None:
        self._loop = loop
        self._make = make
        self._patience = patience
        self._asked = 0
        self._publisher: Publisher | None = None

    def publish(self, messages: Sequence[Message]) -> Awaitable[None] | None:
        """Done when all are confirmed; nothing where this is not for the loop."""
        if self._publisher is None:
            self._asked += 1
            if self._asked <= FEW:
                return None
            self._publisher = self._make()
        if len(messages) > 1:
            return shielded(asyncio.ensure_future(self._publisher.publish(messages)))
        batch, told = Batch(messages), self._loop.create_future()
        self._publisher.try_at_once(batch, told)
        return self._stored(self._publisher, batch, told)

    def close_soon(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._close)
        except RuntimeError:  # it was closed, and left the connection open
            if self._publisher is not None:
                self._publisher.abandon()

    def _close(self) -> None:
        if self._publisher is not None:
            self._publisher.leave()

    async def _stored(self, publisher: Publisher, batch: Batch, told: asyncio.Future[bool]) -> None:
        late = self._loop.call_later(batch.silence * self._patience, _give_up, told)
        try:
            stored = await told
        finally:
            late.cancel()
        if not stored:
            await shielded(asyncio.ensure_future(publisher.publish_batch(batch)))


def _give_up(told: asyncio.Future[bool]) -> None:
    if not told.done():
        told.set_result(False)
