"""One channel: opened when it is needed, once for all who ask at the same time, and again when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from backburner.brokers.rabbitmq.errors import Lost
from backburner.brokers.rabbitmq.link import HANDSHAKE, Channel
from backburner.brokers.shield import shielded


class Keeper:
    """`connect` opens it."""

    def __init__(self, connect: Callable[[], Awaitable[Channel]]) -> None:
        self._connect = connect
        self._opening: asyncio.Future[Channel] | None = None
        self._channel: Channel | None = None
        self._ended = False

    @property
    def open(self) -> Channel | None:
        """The channel, if it is open now."""
        return self._channel if self._channel is not None and self._channel.is_open else None

    async def channel(self) -> Channel:
        """Raises `Lost`, and pika's errors."""
        if (found := self.open) is not None:
            return found
        if self._ended:
            raise Lost
        if self._opening is None or self._opening.done():
            self._opening = asyncio.ensure_future(self._fill())
        return await shielded(self._opening)

    async def _fill(self) -> Channel:
        """Kept also when whoever asked for it has lost patience."""
        self._channel = await self._connect()
        return self._channel

    def end(self, then: Callable[[], None]) -> None:
        """Open nothing more. `then` is called, and again when what is being opened is open."""
        self._ended = True
        then()
        if self._opening is not None and not self._opening.done():
            self._opening.add_done_callback(lambda _: then())

    async def call_off(self) -> None:
        """Open nothing more. What is being opened gets the time to: pika leaves a socket behind when a
        connection is called off in the middle of its handshake.
        """
        self._ended = True
        if self._opening is not None and not self._opening.done():
            await asyncio.wait([self._opening], timeout=HANDSHAKE)
            self._opening.cancel()
            await asyncio.wait([self._opening])
