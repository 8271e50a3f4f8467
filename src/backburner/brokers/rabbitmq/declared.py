"""What was declared on one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from backburner.brokers.rabbitmq.link import Channel, Link
from backburner.brokers.rabbitmq.schema import Part, Schema


class Declared:
    """Declares each part once, on a channel of its own: a refusal ends the channel."""

    def __init__(self, link: Link, schema: Schema) -> None:
        self._link = link
        self._schema = schema
        self._done: set[Part] = set()
        self._lock = asyncio.Lock()
        self._channel: Channel | None = None

    def has(self, parts: Iterable[Part]) -> bool:
        """Whether all of them were declared."""
        return self._done.issuperset(parts)

    async def ensure(self, parts: Iterable[Part]) -> None:
        """Raises `Lost`, with the refusal as its cause."""
        missing = {*parts} - self._done
        if not missing:
            return
        # RabbitMQ forgets a queue, and what was confirmed in it, if it is killed within a second of its
        # declaration: a queue that is declared for the first dead letter would lose that.
        missing |= {Part("dead", part.queue) for part in missing if part.kind == "work"}
        async with self._lock:
            for part in sorted(missing - self._done):
                for method, given in self._schema.declarations(part):
                    await self.call(method, **given)
                self._done.add(part)

    async def waiting(self, part: Part) -> int:
        """How many messages wait in that queue."""
        method, given = next(self._schema.declarations(part))
        answer = await self.call(method, **given)
        return int(answer.message_count)

    def forget(self, parts: Iterable[Part]) -> None:
        """Somebody has deleted them."""
        self._done.difference_update(parts)

    async def call(self, method: str, **given: Any) -> Any:
        if self._channel is None or not self._channel.is_open:
            self._channel = await self._link.channel()
        channel = self._channel
        try:
            return await channel.call(method, **given)
        except asyncio.CancelledError:
            channel.close()  # a question without an answer would hold up all that come after it
            raise
