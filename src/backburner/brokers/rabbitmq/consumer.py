"""What RabbitMQ delivers to this process, and what becomes of it.

1. A claim subscribes to its queues, a consumer for each band, with a window (prefetch) as large as what the
   worker has in hand and asks for: so no worker hoards what others could run (`subscription.py`).
2. Deliveries wait on the shelf of their queue. A claim takes from it in order. When that is less than it
   asked for, one more question on the same channel (`basic.qos`) lets what is on its way arrive first: the
   server answers in order. Not while somebody waits for work: who was woken by a job is given it at once.
3. A claimed delivery is held until it is settled, by acknowledgement: many at once where that can be.
   RabbitMQ fences: a delivery belongs to the channel that it came on, and is void when the channel ends.
   What is held then goes to others, and a settlement of it is refused.
4. A settlement that leaves something to keep (a retry, a dead letter, follow-ups) publishes that first, and
   acknowledges when it is confirmed. A crash in between leaves both: the job runs once more. Never neither.
5. What has lain on a shelf for `HOLD` seconds goes back for others. Who has claimed nothing and waits for
   nothing for that long takes no more until the next claim. Going back is being published to the front of
   the queue, so that RabbitMQ's count of redeliveries remains one of crashes and lost connections.
6. A lost connection is opened again by the next claim, for which whoever waits is woken.
7. RabbitMQ counts how often a message went to others, and not whether its job ran. What was in hand twice
   when a process or a connection ended goes to the queue of suspects, of which each process gets one at a
   time. Only there does it become a poison pill: one bystander at most with each end, not a whole window.
8. Where a queue was deleted, the server ends its consumer and says so: that lane is declared again, and no
   other, since RabbitMQ 3.10 does not say so where a queue is made again too soon. It takes the consumer for
   one of the new queue then, and drops as many messages as that was given before, as if they were the same;
   an acknowledgement of an old one could be taken for one of a new one. So a publisher that makes a queue
   again tells all workers first. Those that consume it acknowledge nothing more of it, and open another
   connection.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Collection, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from msgspec.structs import replace

from backburner.brokers.rabbitmq import message
from backburner.brokers.rabbitmq.acks import Acks
from backburner.brokers.rabbitmq.address import Address
from backburner.brokers.rabbitmq.declared import Declared
from backburner.brokers.rabbitmq.errors import Lost
from backburner.brokers.rabbitmq.keeper import Keeper
from backburner.brokers.rabbitmq.link import Channel, Link, connect
from backburner.brokers.rabbitmq.patience import patiently
from backburner.brokers.rabbitmq.publisher import Publisher
from backburner.brokers.rabbitmq.schema import LANES, SUSPECTS, Part, Schema
from backburner.brokers.rabbitmq.shelf import Delivery
from backburner.brokers.rabbitmq.subscription import Lane, Subscription
from backburner.brokers.rabbitmq.waiter import WorkWaiter
from backburner.errors import BackburnerError, BrokerError
from backburner.job import JobRecord, new_id

logger = logging.getLogger("backburner")
SUSPICIOUS = 2
"""Times that a job was in hand when a process or a connection ended until it is a suspect. Fewer where so
many make a poison pill.
"""
HOLD = 1.0
"""Seconds that a shelf is kept for a worker that claims nothing."""
GATE = 5.0
"""Seconds after which the gate of a paused queue is looked at again."""
SPREE = 0.5
"""Seconds in which more of the queues may be deleted: each end of a connection counts as a crash."""
GOODBYE = 2.0
"""Seconds in which a shelf may be given back when the broker is closed."""


class Consumer:
    """The deliveries of one process, on a connection of its own. All of it runs on the background's loop."""

    def __init__(self, address: Address, schema: Schema, publisher: Publisher) -> None:
        self._address = address
        self._schema = schema
        self._publisher = publisher
        self.waiters: set[WorkWaiter] = set()
        self.poison_after = 3
        """As the workers of this process have it."""
        self._link: Link | None = None
        self._keeper = Keeper(self._connect)
        self._declared: Declared | None = None
        self._control: Channel | None = None
        self._acks = Acks()
        self._subscriptions: dict[str, Subscription] = {}
        self._changing = asyncio.Lock()
        self._remade: set[str] = set()
        """Queues that were deleted and made again, until the connection is a new one."""
        self.paused: dict[str, float] = {}
        """Queues that are paused, and when that was last seen, on `time.monotonic()`."""
        self._tending: asyncio.Task[None] | None = None
        self._names = 0
        self._has_lost = False
        self._replaced: list[tuple[Channel, int, message.Message]] = []
        """Deliveries in whose place other messages are to be published."""
        self._replacing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # Claims ------------------------------------------------------------------------------------------

    async def take(self, queues: Sequence[str], limit: int, exclude: Collection[str] = ()) -> list[Delivery]:
        """Up to `limit` deliveries, in order; they are held from here on. Raises `BrokerError`."""
        return await patiently(self._address, lambda: self._take(queues, limit, exclude))

    async def _take(self, queues: Sequence[str], limit: int, exclude: Collection[str]) -> list[Delivery]:
        channel = await self._keeper.channel()
        for queue in queues:
            subscription = self._subscription(queue)
            subscription.wanted_at = now = time.monotonic()
            subscription.asked = limit
            need = subscription.wanted(limit, len(subscription.shelf) if exclude else 0)
            if self._is_paused(queue):
                continue
            if subscription.unfit(window := subscription.apt(need, now)):
                await self._subscribe(queue, window)
        taken = self._pick(queues, limit, exclude)
        if len(taken) < limit and not (taken and self._awaited.intersection(queues)):
            try:
                async with self._changing:
                    await channel.call("basic_qos", prefetch_count=1)
            except BaseException:
                self.untake(taken)
                raise
            taken += self._pick(queues, limit - len(taken), exclude)
        return taken

    @property
    def _awaited(self) -> set[str]:
        """The queues for which somebody waits."""
        return {queue for waiter in self.waiters for queue in waiter.queues}

    def _pick(self, queues: Sequence[str], limit: int, exclude: Collection[str]) -> list[Delivery]:
        taken: list[Delivery] = []
        for queue in queues:
            if queue not in self.paused and len(taken) < limit:
                subscription = self._subscription(queue)
                found = [*subscription.shelf.take(limit - len(taken), exclude)]
                subscription.claimed(len(found), time.monotonic())
                taken += found
        return taken

    def untake(self, deliveries: Sequence[Delivery]) -> None:
        """Put what was taken back to its place on the shelf."""
        for delivery in reversed(deliveries):
            if self.holds(delivery):
                subscription = self._subscription(delivery.queue)
                subscription.held -= 1
                subscription.shelf.put_back([delivery])

    def settle(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge what was taken, where its channel still lives."""
        for delivery in deliveries:
            if self.holds(delivery):
                subscription = self._subscription(delivery.queue)
                subscription.held -= 1
                subscription.settled += 1
        self._acknowledge(self._tags(deliveries))

    def holds_all(self) -> bool:
        """Whether no channel was lost since this was last asked."""
        lost, self._has_lost = self._has_lost, False
        return not lost

    def holds(self, delivery: Delivery) -> bool:
        return delivery.channel is self._keeper.open

    def _tags(self, deliveries: Sequence[Delivery]) -> list[int]:
        """Of those that can be acknowledged."""
        return [each.tag for each in deliveries if self.holds(each) and each.queue not in self._remade]

    def _acknowledge(self, tags: Sequence[int]) -> None:
        if (channel := self._keeper.open) is not None:
            for tag, multiple in self._acks.settle(tags):
                channel.raw.basic_ack(tag, multiple)

    # Subscriptions -----------------------------------------------------------------------------------

    def _subscription(self, queue: str) -> Subscription:
        found = self._subscriptions.get(queue)
        if found is None:
            found = self._subscriptions[queue] = Subscription()
        return found

    async def listen(self, queues: Collection[str]) -> None:
        """Have something delivered from each, so that who waits is woken."""
        for queue in queues:
            if not self._subscription(queue).window:
                await patiently(self._address, partial(self._begin, queue))

    async def _begin(self, queue: str) -> None:
        await self._keeper.channel()
        if not self._subscription(queue).window:
            await self._subscribe(queue, 1)

    async def _subscribe(self, queue: str, window: int) -> None:
        """Replace those consumers of a queue that are to have another window. Raises `Lost`."""
        async with self._changing:
            channel, declared = await self._keeper.channel(), self._declared
            assert declared is not None
            subscription = self._subscription(queue)
            await declared.ensure(Part("work", queue, band) for band in LANES)
            if not subscription.lanes:
                if await declared.waiting(Part("gate", queue)):
                    self.paused[queue] = time.monotonic()
                else:
                    self.paused.pop(queue, None)
            if queue in self.paused:
                return
            try:
                await self._consume(channel, queue, subscription, window)
            except asyncio.CancelledError:
                # Some of the consumers are there, and it is not known which: begin anew.
                channel.raw.connection.cut()
                raise
        if self._tending is None or self._tending.done():
            self._tending = asyncio.ensure_future(self._tend())

    async def _consume(self, channel: Channel, queue: str, subscription: Subscription, window: int) -> None:
        bands = subscription.unfit(window)
        subscription.window = window
        for band in bands:
            if (lane := subscription.lanes.pop(band, None)) is not None:
                await channel.cancel(lane.tag)
        if bands != [SUSPECTS]:
            await channel.call("basic_qos", prefetch_count=min(window, 65_535))
        for band in bands:
            if band == SUSPECTS:
                await channel.call("basic_qos", prefetch_count=1)
            self._names += 1
            lane = Lane(f"{band}.{self._names}", window)
            subscription.lanes[band] = lane  # before it is there: the server may cancel it meanwhile
            name = self._schema.name(Part("work", queue, band))
            await channel.consume(name, lane.tag, partial(self._delivered, queue, band, channel))

    def _delivered(
        self, queue: str, band: str, channel: Channel, _: Any, method: Any, given: Any, body: bytes
    ) -> None:
        subscription, headers = self._subscription(queue), given.headers or {}
        subscription.used.add(band)
        try:
            received = message.received(body, headers, given.app_id)
        except BrokerError as error:
            other = message.unreadable(self._schema, queue, body, headers, error)
            self._keep(channel, method.delivery_tag, other)
            return
        job, counted = received.job, headers.get("x-delivery-count")
        job.queue = queue  # whatever a stranger has written: it comes back to where it was
        again = counted if isinstance(counted, int) else int(method.redelivered)
        crashes = job.crashes + again
        suspect = bool(again) and self.suspects(crashes) and band != SUSPECTS
        if suspect:
            crashes = max(job.crashes, self._bearable)
        job.token += again
        if suspect or (again and counted is None):
            # A classic queue does not count: the message is replaced by one that does.
            suspect = suspect or band == SUSPECTS
            other = self._returned(received, replace(job, crashes=crashes), suspect=suspect)
            self._keep(channel, method.delivery_tag, other)
            return
        job.crashes = crashes
        subscription.shelf.add(
            Delivery(queue, channel, method.delivery_tag, received, time.monotonic()), band
        )
        self._wake(queue)

    def _keep(self, channel: Channel, tag: int, other: message.Message) -> None:
        """Publish another message in place of this one."""
        self._replaced.append((channel, tag, other))
        if self._replacing is None or self._replacing.done():
            self._replacing = self._spawn(self._replace())

    async def _replace(self) -> None:
        """All that came meanwhile goes out together, so that none overtakes another.

        Each for itself, the second did while a connection was opened for the first: after a node was killed
        all that waits in a classic queue comes back like this.
        """
        while self._replaced:
            together, self._replaced = self._replaced, []
            if not await self._put_in_place(together) and len(together) > 1:
                for each in together:  # what one of them needs may be refused
                    await self._put_in_place([each])

    async def _put_in_place(self, replaced: Sequence[tuple[Channel, int, message.Message]]) -> bool:
        valid = [each for each in replaced if each[0] is self._keeper.open]  # the others come again
        try:
            await self._publisher.publish([other for _, _, other in valid])
        except BackburnerError as error:
            logger.warning("%s: what could not be replaced comes again with the next connection", error)
            for each in self._subscriptions.values():
                each.renew()  # it has a place in one of them until then
            return False
        self._acknowledge([tag for channel, tag, _ in valid if channel is self._keeper.open])
        return True

    # What nobody here takes --------------------------------------------------------------------------

    async def _tend(self) -> None:
        """Give back what lies on a shelf for too long, as long as there are shelves."""
        while any(each.lanes or len(each.shelf) for each in self._subscriptions.values()):
            await asyncio.sleep(HOLD / 4)
            past = time.monotonic() - HOLD
            awaited = self._awaited
            for queue, subscription in [*self._subscriptions.items()]:
                if subscription.wanted_at < past and queue not in awaited:
                    await self._unsubscribe(queue)
                    await self._give_back(subscription, math.inf)
                else:
                    await self._give_back(subscription, past)
                    await self._narrow(queue, subscription)

    async def _narrow(self, queue: str, subscription: Subscription) -> None:
        """Whoever waits makes no claim for seconds, and may have the window of a high pace."""
        now = time.monotonic()
        if subscription.lanes and not subscription.out and subscription.claimed_at < now - HOLD:
            subscription.claimed(0, now)
            window = subscription.apt(subscription.wanted(subscription.asked, 0), now)
            if subscription.unfit(window):
                with suppress(Lost):
                    await self._subscribe(queue, window)

    async def _unsubscribe(self, queue: str) -> None:
        """Let nothing more be delivered from it."""
        async with self._changing:
            if (channel := self._keeper.open) is not None:
                with suppress(Lost):
                    for lane in self._subscription(queue).end():
                        await channel.cancel(lane.tag)

    async def _give_back(self, subscription: Subscription, until: float) -> None:
        """Put what was delivered before then back to its place in line, for others."""
        old = [*subscription.shelf.older(until)]
        try:
            await self._publisher.publish([self._returned(each.received, each.received.job) for each in old])
        except BrokerError as error:
            logger.warning("%s: what is not claimed stays here for now", error)
            subscription.shelf.put_back(old)
        else:
            self._acknowledge(self._tags(old))

    def _returned(
        self, received: message.Received, job: JobRecord, *, suspect: bool | None = None
    ) -> message.Message:
        return message.returned(
            self._schema,
            job,
            suspect=self.suspects(job.crashes) if suspect is None else suspect,
            history=received.history,
            store=received.store,
            beyond=received.beyond,
        )

    def suspects(self, crashes: int) -> bool:
        """Whether a job that was in hand so often when a process or a connection ended is one of them."""
        return crashes >= max(self._bearable, 1)

    @property
    def _bearable(self) -> int:
        """Crashes that may be put down to a job that was in hand with others: no poison pill yet."""
        return min(SUSPICIOUS, self.poison_after - 1)

    # Pausing -----------------------------------------------------------------------------------------

    def _is_paused(self, queue: str) -> bool:
        """Now and then the gate is looked at again: who let the queue go on may not have come to say so."""
        seen = self.paused.get(queue)
        return seen is not None and time.monotonic() - seen < GATE

    async def set_paused(self, queue: str, paused: bool) -> None:
        """A worker somewhere was told so."""
        if paused:
            self.paused[queue] = time.monotonic()
            await self._unsubscribe(queue)
            await self._give_back(self._subscription(queue), math.inf)
        else:
            self.paused.pop(queue, None)
            self._wake(queue)

    # The connection ----------------------------------------------------------------------------------

    async def _connect(self) -> Channel:
        if self._link is None or not self._link.is_open:
            self._link = await connect(self._address, "backburner worker")
        self._declared = Declared(self._link, self._schema)
        if self._control is None or not self._control.is_open:
            self._control = await self._hear_control(self._link, self._declared)
        channel = await self._link.channel()
        self._acks = Acks()
        channel.lost.add_done_callback(lambda _: self._lost())
        channel.raw.add_on_cancel_callback(lambda frame: self._cancelled(frame.method.consumer_tag))
        return channel

    async def channel(self, parts: Collection[Part] = ()) -> Channel:
        """Another channel on this connection, where these are declared. Raises `Lost`."""
        await self.declare(parts)
        assert self._link is not None
        return await self._link.channel()

    async def declare(self, parts: Collection[Part]) -> None:
        """Raises `Lost`."""
        await self._keeper.channel()
        assert self._declared is not None
        await self._declared.ensure(parts)

    def forget(self, parts: Collection[Part]) -> None:
        """The server ended a consumer of theirs: whoever needs them has them declared again."""
        if self._declared is not None:
            self._declared.forget(parts)

    async def _hear_control(self, link: Link, declared: Declared) -> Channel:
        """Listen to what is told to all workers."""
        control = await link.channel()
        await declared.ensure([Part("control")])
        queue = f"{self._schema.control}.{new_id()}"
        await control.call("queue_declare", queue=queue, exclusive=True)
        await control.call("queue_bind", queue=queue, exchange=self._schema.control)
        await control.call(
            "basic_consume",
            queue=queue,
            auto_ack=True,
            on_message_callback=lambda *given: self._told(given[3]),
        )
        return control

    def _told(self, body: bytes) -> None:
        try:
            queue, paused = message.told(body)
        except BrokerError as error:
            logger.warning("%s", error)
            return
        if paused is None:
            self._doubt(queue)
        else:
            _ = self._spawn(self.set_paused(queue, paused))

    def _doubt(self, queue: str) -> None:
        """It was deleted and made again. Once for all of a spree: what is in hand is run again."""
        if not self._subscription(queue).lanes:
            return
        if not self._remade:
            _ = self._spawn(self._begin_anew())
        self._remade.add(queue)

    async def _begin_anew(self) -> None:
        link = self._link
        await asyncio.sleep(SPREE)
        if self._remade and link is not None and link is self._link:
            await self._put_down()
            link.raw.cut()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _cancelled(self, tag: str) -> None:
        """The server ended a consumer: its queue was deleted, or its node is away. It is declared again."""
        for queue, subscription in self._subscriptions.items():
            for band in [band for band, lane in subscription.lanes.items() if lane.tag == tag]:
                del subscription.lanes[band]
                self.forget([Part("work", queue, band)])
                self._wake(queue)

    def _lost(self) -> None:
        """All that was delivered goes to others."""
        self._has_lost = True
        self._remade.clear()
        self._subscriptions.clear()
        self.paused.clear()
        for waiter in self.waiters:
            waiter.wake()

    def _wake(self, queue: str) -> None:
        for waiter in self.waiters:
            if queue in waiter.queues:
                waiter.wake()

    async def close(self) -> None:
        """Give back what is on the shelves, and say goodbye."""
        await self._keeper.call_off()
        await self._put_down()
        if self._link is not None:
            await self._link.close()

    async def _put_down(self) -> None:
        """Give back what is on the shelves, so that only what is in hand counts as lost with a connection."""
        try:
            async with asyncio.timeout(GOODBYE):
                for queue, subscription in [*self._subscriptions.items()]:
                    await self._unsubscribe(queue)
                    await self._give_back(subscription, math.inf)
        except TimeoutError:
            logger.warning("what this process had not claimed goes back with the end of its connection")
