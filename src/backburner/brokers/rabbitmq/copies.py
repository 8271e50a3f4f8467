"""Copies in RabbitMQ of the jobs that wait in a results store: how they come in, and how they are used up.

1. Each job that waits has a message, as if there were no store. Which job is run, and when, the store decides
   alone; a message is *of use* while the store has its job waiting at the message's own claim (`token`). So
   it is of no use once the job was claimed, and one that is there twice does no harm.
2. A process that does the duties of a node subscribes to the queues of its workers, and has a window of
   messages of each lane in hand. `results.py` looks their jobs up, many at a time, and acknowledges those of
   no use, which lets others through.
3. What is of use stays in hand, and is looked at again after a pause that grows to `LONGEST`, as long as
   nothing of it was used up.
4. RabbitMQ hands out from the front only. Where a window is full of what is of use, it may hide what is not:
   all of it is published again, to the end, and acknowledged when that is confirmed, until all of the queue
   was seen. The next such round begins `TURN` seconds after the last, or when the queue is twice as long.
5. Where RabbitMQ is away, messages of jobs that a worker put back are put aside, up to `LATE` of them, and
   published when it is back: the worker goes on meanwhile. If the process ends before, they are missing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Collection, Coroutine, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from pika import exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from backburner.brokers.rabbitmq import message
from backburner.brokers.rabbitmq.acks import Acks
from backburner.brokers.rabbitmq.address import Address
from backburner.brokers.rabbitmq.consumer import Consumer
from backburner.brokers.rabbitmq.errors import Lost, translation
from backburner.brokers.rabbitmq.link import Channel
from backburner.brokers.rabbitmq.message import Message, Received
from backburner.brokers.rabbitmq.publisher import Publisher
from backburner.brokers.rabbitmq.schema import LANES, Part, Schema
from backburner.errors import BackburnerError, BrokerError, BrokerUnavailable

logger = logging.getLogger("backburner")
WINDOW = 200
"""Messages of one band that are in hand at most."""
LOOK = 1000
"""Messages that are looked at together."""
LONGEST = 30.0
"""Seconds until what is in hand is looked at again."""
TURN = 60.0
LATE = 10_000
"""Messages that are put aside; beyond that the oldest are dropped."""
PATIENCE = 2.0
"""Seconds that a worker waits for the confirms of what it puts back."""

GOODBYE = 1.0
"""Seconds in which a connection that is being opened may be there before it is closed."""


Lanes = tuple[Part, ...]


class Copy(NamedTuple):
    """A message in hand."""

    hand: Hand
    part: Part
    tag: int
    received: Received


class Hand:
    """The messages of some lanes of a queue that are in hand, on a channel of their own."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.copies: dict[int, Copy] = {}
        self.new: list[Copy] = []
        """Not looked at yet."""
        self.counts: Counter[Part] = Counter()
        self._acks = Acks()

    def add(self, copy: Copy) -> None:
        self.copies[copy.tag] = copy
        self.new.append(copy)
        self.counts[copy.part] += 1

    def spend(self, tags: Collection[int]) -> None:
        """Acknowledge these."""
        for tag in tags:
            if tag in self.copies:
                self.counts[self.copies.pop(tag).part] -= 1
        if self.channel.is_open:
            for tag, multiple in self._acks.settle(tags):
                self.channel.raw.basic_ack(tag, multiple)

    def full(self) -> set[Part]:
        return {part for part, count in self.counts.items() if count >= WINDOW}


class Round:
    """A look at all of a queue, which is turned over for it. `size` is its length when it began."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.seen = 0
        self._began = time.monotonic()

    @property
    def is_over(self) -> bool:
        return self.seen >= self.size

    @property
    def is_long_ago(self) -> bool:
        return time.monotonic() > self._began + TURN


class Look(NamedTuple):
    """What is to be looked at now."""

    copies: list[Copy]
    full: bool
    """Whether a window is full: more may be behind it."""


class Copies:
    """The copies of one process. All of it runs on the background's loop."""

    def __init__(self, address: Address, schema: Schema, consumer: Consumer, publisher: Publisher) -> None:
        self._address = address
        self._schema = schema
        self._consumer = consumer
        self._publisher = publisher
        self._hands: dict[Lanes, Hand] = {}
        self._mute: set[Part] = set()
        """Lanes that gave no answer once: each has its own channel from then on, which no other waits for."""
        self._opening: asyncio.Task[None] | None = None
        self._trouble = ""
        self._pause = 0.0
        self._again_at = 0.0
        self._rounds: dict[Part, Round] = {}
        self._late: deque[Message] = deque()
        self._catching_up: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    # Coming in ---------------------------------------------------------------------------------------

    async def keep(self, messages: Sequence[Message]) -> None:
        """Publish what a worker puts back: now, or when RabbitMQ is there again."""
        if not self._late:
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._publisher.publish(messages)
            except (TimeoutError, BrokerUnavailable):
                logger.warning(
                    "%s is away: copies of jobs that wait again are put aside until it is back",
                    self._address.shown,
                )
            except BrokerError:
                logger.exception("jobs that wait again have no copy in RabbitMQ")
                return
            else:
                return
        self._late.extend(messages)
        if len(self._late) > LATE:
            logger.warning("more than %d copies are put aside: the oldest are dropped", LATE)
            while len(self._late) > LATE:
                self._late.popleft()
        if self._catching_up is None or self._catching_up.done():
            self._catching_up = asyncio.ensure_future(self._catch_up())

    async def _catch_up(self) -> None:
        while self._late:
            some = [self._late[place] for place in range(min(len(self._late), LOOK))]
            try:
                await self._publisher.publish(some)
            except BrokerUnavailable:
                await asyncio.sleep(1.0)
                continue
            except BrokerError:
                logger.exception("jobs that wait again have no copy in RabbitMQ")
            for each in some:
                if self._late and self._late[0] is each:
                    self._late.popleft()

    # Being used up -----------------------------------------------------------------------------------

    def look(self, queues: Collection[str]) -> Look:
        """What has come, and from time to time all that is in hand; it subscribes where it has not yet."""
        self._hands = {lanes: hand for lanes, hand in self._hands.items() if hand.channel.is_open}
        missing = [lanes for queue in queues for lanes in self._lanes(queue) if lanes not in self._hands]
        if missing and (self._opening is None or self._opening.done()):
            self._opening = asyncio.ensure_future(self._subscribe(missing))
        all_of_it = time.monotonic() >= self._again_at
        found: list[Copy] = []
        for hand in self._hands.values():
            waiting = [*hand.copies.values()] if all_of_it else hand.new
            room = LOOK - len(found)
            found += waiting[:room]
            hand.new = waiting[room:]
        if all_of_it and found:
            self._pause = min(max(1.0, 2 * self._pause), LONGEST)
            self._again_at = time.monotonic() + self._pause
        return Look(found, any(hand.full() for hand in self._hands.values()))

    def spend(self, copies: Iterable[Copy]) -> None:
        """Acknowledge what is of no use any more."""
        by_hand: dict[Hand, list[int]] = {}
        for copy in copies:
            if copy.hand.channel.is_open and copy.hand.copies.get(copy.tag) is copy:
                by_hand.setdefault(copy.hand, []).append(copy.tag)
        for hand, tags in by_hand.items():
            hand.spend(tags)
        if by_hand:  # others will soon be of no use, either
            self._pause = 0.0
            self._again_at = min(self._again_at, time.monotonic() + 1.0)

    async def turn(self, copies: Sequence[Copy], store: str, now: float) -> bool:
        """Put to the end what is of use, where it fills a window; whether it did. Raises `BrokerError`."""
        turned = False
        full = set[Part]().union(*(hand.full() for hand in self._hands.values()))
        for part in full & {copy.part for copy in copies}:
            behind, these = (
                await self._publisher.waiting(part),
                [each for each in copies if each.part == part],
            )
            last = self._rounds.get(part)
            if last is None or (last.is_over and (behind > 2 * last.size or last.is_long_ago)):
                last = self._rounds[part] = Round(behind + len(these))
            if behind and not last.is_over:
                await self.renew(these, store, now)
                last.seen += len(these)
                turned = True
        return turned

    async def renew(self, copies: Sequence[Copy], store: str, now: float) -> None:
        """Publish these again, as of this store, and acknowledge the old ones. Raises `BrokerError`."""
        again = [
            message.of(
                self._schema, received.job, now, store=store, history=received.history, beyond=received.beyond
            )
            for _, _, _, received in copies
        ]
        with suppress(TimeoutError, BrokerUnavailable):  # then they stay, and are looked at again
            async with asyncio.timeout(PATIENCE):
                await self._publisher.publish(again)
            self.spend(copies)

    # Subscriptions -----------------------------------------------------------------------------------

    def _lanes(self, queue: str) -> list[Lanes]:
        """Those that share a channel, and each that has one of its own."""
        lanes = [Part("work", queue, band) for band in LANES]
        together = tuple(lane for lane in lanes if lane not in self._mute)
        alone: list[Lanes] = [(lane,) for lane in lanes if lane in self._mute]
        return [together, *alone] if together else alone

    async def _subscribe(self, missing: Sequence[Lanes]) -> None:
        trouble = ""
        for lanes in missing:
            try:
                await self._begin(lanes)
            except (
                Lost,
                OSError,
                exceptions.AMQPError,
                AMQPConnectorException,
                BackburnerError,
            ) as error:
                trouble = str(translation(error, self._address.shown))
        if trouble and trouble != self._trouble:
            logger.warning("copies of jobs are not looked through now: %s", trouble)
        self._trouble = trouble

    async def _begin(self, lanes: Lanes) -> None:
        async with asyncio.timeout(self._address.patience):
            channel = await self._consumer.channel()
        hand = self._hands[lanes] = Hand(channel)
        channel.raw.add_on_cancel_callback(lambda _: self._cancelled(channel, lanes))
        try:
            async with asyncio.timeout(self._address.patience):
                await channel.call("basic_qos", prefetch_count=WINDOW)
            for part in lanes:
                await self._take(hand, part)
        except BaseException:
            channel.close()  # so that it begins anew, with all of them
            raise

    async def _take(self, hand: Hand, part: Part) -> None:
        """One that has lost most of its nodes gives no answer: the others do not wait for it."""
        try:
            async with asyncio.timeout(self._address.patience):
                await self._consumer.declare([part])
                take = partial(self._delivered, hand, part)
                await hand.channel.consume(self._schema.name(part), part.band, take)
        except TimeoutError:
            self._mute.add(part)
            raise

    def _cancelled(self, channel: Channel, parts: Sequence[Part]) -> None:
        """Somebody has deleted one of the queues: all begin anew, and it is declared again."""
        self._consumer.forget(parts)
        channel.close()

    def _delivered(self, hand: Hand, part: Part, _: Any, method: Any, given: Any, body: bytes) -> None:
        headers = given.headers or {}
        try:
            received = message.received(body, headers, given.app_id)
        except BrokerError as error:
            other = message.unreadable(self._schema, part.queue, body, headers, error)
            self._spawn(self._set_apart(hand, method.delivery_tag, other))
        else:
            hand.add(Copy(hand, part, method.delivery_tag, received))

    async def _set_apart(self, hand: Hand, tag: int, other: Message) -> None:
        """Nobody here understands it: it goes to the dead letters."""
        try:
            await self._publisher.publish([other])
        except BrokerError:
            logger.exception("a message could not be set apart; it comes again with the next connection")
        else:
            hand.spend([tag])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Let a connection that is being opened be there, to be closed; what is put aside is lost."""
        if self._late:
            logger.warning("%d jobs that wait have no copy in RabbitMQ: it was away", len(self._late))
        if self._opening is not None and not self._opening.done():
            await asyncio.wait([self._opening], timeout=GOODBYE)
