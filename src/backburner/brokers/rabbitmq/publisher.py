"""Publishing with confirms: what is published is on disk, on as many nodes as the queue has, when it returns.

1. A batch goes out in one piece. RabbitMQ confirms in any order; the batch is done when all of it is
   confirmed.
2. What is needed is declared first, once a connection. A message that finds no queue comes back: somebody
   has deleted it. It is declared again, all workers are told, and the message is published again.
3. When the connection is lost, what was not confirmed is published again on a new one, until the patience of
   the URL is over. It may have arrived: a job may be there twice, and is then run twice.
4. A server that is short of memory or disk stops reading from connections that publish, and says so. The
   batch waits within its patience; the error then has the reason. That is why publishing has a connection
   of its own: acknowledgements go on.
5. A server that confirms nothing for a quarter of the patience, then for a half, is left, as if the
   connection were lost. A node that vanished closes none; and what a new channel publishes while a quorum
   queue elects its leader is never confirmed by RabbitMQ 3.10, nor refused.
6. A lone message, which is what a web handler sends, is tried without a task first
   (`try_at_once`). What stands in its way, and what becomes of it then, is left to the attempts of 1 to 5.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

from backburner.brokers.rabbitmq.address import Address
from backburner.brokers.rabbitmq.declared import Declared
from backburner.brokers.rabbitmq.errors import Lost, Refused, blocked
from backburner.brokers.rabbitmq.keeper import Keeper
from backburner.brokers.rabbitmq.link import Channel, Link, connect
from backburner.brokers.rabbitmq.message import Message, telling
from backburner.brokers.rabbitmq.patience import patiently
from backburner.brokers.rabbitmq.schema import Part, Schema
from backburner.brokers.rabbitmq.wire import Confirm
from backburner.errors import BrokerError

TOGETHER = 100
"""Messages that go out in one turn of the event loop: the server takes them while the next are written."""


class Batch:
    """Messages that were published together, and who waits for them."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.left = dict(enumerate(messages))
        """What is not confirmed, by its place in the batch."""
        self.watch: asyncio.TimerHandle | None = None
        """Looks whether the server is silent."""
        self.silence = 0.25
        """The part of the patience for which it may be; doubled each time that it was."""
        self.asked_at = time.monotonic()
        self.under_way = False
        """Whether there is an attempt that has not ended."""
        self.tell: Callable[[BaseException | None], None]
        """Called at its end: when all is answered, or with what prevents that. Whoever waits may change."""

    def begin(self) -> None:
        """Before each attempt."""
        self.under_way = True
        self.open = len(self.left)
        self.refused = False

    def answered(self, place: int, *, refused: bool, homeless: bool) -> None:
        if refused:
            self.refused = True
        elif not homeless:
            del self.left[place]
        self.open -= 1
        if not self.open:
            self.end()

    def end(self, error: BaseException | None = None) -> None:
        """The attempt is over."""
        if self.watch is not None:
            self.watch.cancel()
        if self.under_way:
            self.under_way = False
            self.tell(error)


class Publisher:
    """Publishes on a connection of its own, which is opened when it is needed."""

    def __init__(self, address: Address, schema: Schema) -> None:
        self._address = address
        self._schema = schema
        self._link: Link | None = None
        self._keeper = Keeper(self._connect)
        self._declared: Declared | None = None
        self._tag = 0
        self._unconfirmed: OrderedDict[int, tuple[Batch, int]] = OrderedDict()
        self._returned: set[str] = set()
        self._untold: set[str] = set()
        """Queues that turned out to be deleted."""

    async def publish(self, messages: Sequence[Message]) -> None:
        """Returns when all are confirmed. Raises `BrokerUnavailable` when patience is over, `BrokerError`."""
        if messages:
            await self.publish_batch(Batch(messages))

    async def publish_batch(self, batch: Batch) -> None:
        """The same, for what is left of this one."""
        await patiently(self._address, lambda: self._attempt(batch), self._alarm, batch.asked_at)

    def try_at_once(self, batch: Batch, told: Future[bool] | asyncio.Future[bool]) -> None:
        """Publish a lone message in this turn of the loop, where nothing stands in the way.

        Whether it is confirmed is told, at once or later. If not, or not soon, `publish_batch` goes on. An
        enqueue takes two turns of the loop less than with a task and its coroutines.
        """

        def tell(_: BaseException | None) -> None:
            if not told.done():
                told.set_result(not batch.left)

        batch.tell = tell
        [(place, given)] = batch.left.items()
        channel, link = self._keeper.open, self._link
        if channel is None or link is None or link.blocked is not None or not self.has_declared(given):
            batch.tell(None)
            return
        batch.begin()
        try:
            self._send(channel, batch, place, given)
        except (Lost, BrokerError):
            batch.end()
        else:
            self._watch(batch, link)

    def has_declared(self, given: Message) -> bool:
        """Whether all that this message needs is there, as far as is known; from any thread."""
        return self._declared is not None and self._declared.has(given.route.parts)

    def _alarm(self) -> str | None:
        reason = self._link.blocked if self._link is not None and self._link.is_open else None
        return reason and blocked(self._address.shown, reason)

    async def connect(self) -> None:
        """See whether the server answers. Raises `BrokerError`."""
        await patiently(self._address, self._keeper.channel)

    async def waiting(self, part: Part) -> int:
        """How many messages wait in that queue. Raises `BrokerError`."""

        async def count() -> int:
            await self._keeper.channel()
            assert self._declared is not None
            return await self._declared.waiting(part)

        return await patiently(self._address, count)

    async def purge(self, part: Part) -> None:
        """Delete all that waits in that queue. Raises `BrokerError`."""

        async def empty() -> None:
            await self._keeper.channel()
            assert self._declared is not None
            await self._declared.ensure([part])
            await self._declared.call("queue_purge", queue=self._schema.name(part))

        await patiently(self._address, empty)

    async def close(self) -> None:
        await self._keeper.call_off()
        if self._link is not None:
            await self._link.close()

    def leave(self) -> None:
        """Close it at once: its event loop may be about to end."""
        self._keeper.end(self._leave)

    def _leave(self) -> None:
        if self._link is not None:
            self._link.raw.leave()

    def abandon(self) -> None:
        """Close the sockets of an event loop that was closed."""
        if self._link is not None:
            self._link.raw.abandon()

    # One attempt -------------------------------------------------------------------------------------

    async def _attempt(self, batch: Batch) -> None:
        while batch.left:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            batch.tell = partial(_tell, done)
            try:
                if not batch.under_way:
                    await self._begin(batch)
                await done
            finally:
                batch.end()
            if batch.refused:
                raise Refused

    async def _begin(self, batch: Batch) -> None:
        channel = await self._keeper.channel()
        assert self._link is not None
        assert self._declared is not None
        await self._link.free.wait()
        await self._declared.ensure({part for message in batch.left.values() for part in message.route.parts})
        await self._tell()
        if channel.lost.done():
            raise Lost from channel.lost.result()
        batch.begin()
        for place, given in [*batch.left.items()]:
            if not batch.under_way:
                break
            self._send(channel, batch, place, given)
            if not self._tag % TOGETHER:
                await asyncio.sleep(0)
        self._watch(batch, self._link)

    def _send(self, channel: Channel, batch: Batch, place: int, given: Message) -> None:
        route, body, properties, mandatory = given
        channel.publish(route.exchange, route.key, mandatory, properties, body)
        self._tag += 1
        self._unconfirmed[self._tag] = (batch, place)

    def _watch(self, batch: Batch, link: Link) -> None:
        """Leave a server that is silent for too long, unless it has said why."""
        if not batch.under_way:
            return
        open_then = batch.open

        def look() -> None:
            if batch.open < open_then or link.blocked is not None:
                self._watch(batch, link)
            else:
                batch.silence *= 2
                link.raw.cut()

        batch.watch = asyncio.get_running_loop().call_later(batch.silence * self._address.patience, look)

    def _heard(self, confirm: Confirm) -> None:
        if not confirm.multiple:
            self._answered(*self._unconfirmed.pop(confirm.tag), refused=confirm.refused)
            return
        while self._unconfirmed and next(iter(self._unconfirmed)) <= confirm.tag:
            self._answered(*self._unconfirmed.popitem(last=False)[1], refused=confirm.refused)

    def _answered(self, batch: Batch, place: int, *, refused: bool) -> None:
        homeless = False
        if self._returned:
            given = batch.left[place]
            homeless = given.properties.message_id in self._returned
            self._returned.discard(given.properties.message_id)
            if homeless:
                self._forget(given)
        batch.answered(place, refused=refused, homeless=homeless)

    def _forget(self, given: Message) -> None:
        """Somebody has deleted what it needs: the next attempt declares that again."""
        if not given.route.exchange and self.has_declared(given):
            self._untold.update(part.queue for part in given.route.parts if part.kind == "work")
        if self._declared is not None:
            self._declared.forget(given.route.parts)

    async def _tell(self) -> None:
        """Before anything is published to what was declared again (`consumer.py`)."""
        untold, self._untold = self._untold, set()
        try:
            if untold:
                await self._attempt(Batch([telling(self._schema, queue, None) for queue in untold]))
        except BaseException:
            self._untold |= untold
            raise

    # The connection ----------------------------------------------------------------------------------

    async def _connect(self) -> Channel:
        if self._link is None or not self._link.is_open:
            self._link = await connect(self._address, "backburner publisher")
        self._declared = Declared(self._link, self._schema)
        channel = await self._link.channel()
        self._tag = 0
        channel.raw.add_on_return_callback(lambda *given: self._returned.add(given[2].message_id))
        channel.lost.add_done_callback(self._lost)
        await channel.confirm(self._heard)
        return channel

    def _lost(self, reason: asyncio.Future[BaseException]) -> None:
        batches = {id(batch): batch for batch, _ in self._unconfirmed.values()}
        self._unconfirmed.clear()
        self._returned.clear()
        for batch in batches.values():
            lost = Lost()
            lost.__cause__ = reason.result()
            batch.end(lost)


def _tell(done: asyncio.Future[None], error: BaseException | None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
