"""The dead letters of one queue on RabbitMQ alone: looked at, queued again, deleted.

1. To be looked at they are delivered to a channel of their own, and not acknowledged: they are in hand then,
   `WINDOW` on each of up to `CHANNELS`. Those that die meanwhile are delivered, too.
2. Queued again: published as a new job with its history, confirmed, then acknowledged. A crash in between
   leaves both the job and its dead letter. Deleted: acknowledged.
3. While they are in hand nobody else sees them. When nothing was asked for `HOLD` seconds the channels are
   closed, and RabbitMQ puts what is left back in its places. A quorum queue counts that as a redelivery; the
   count has no limit and no meaning there, and begins anew with the job.
4. The queue of an id is remembered from the last list of its queue: AMQP finds no message by its id, and no
   queue by a pattern.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from msgspec.structs import replace

from backburner.brokers.base import Filter
from backburner.brokers.flaws import UNREADABLE
from backburner.brokers.rabbitmq import message
from backburner.brokers.rabbitmq.address import Address
from backburner.brokers.rabbitmq.consumer import Consumer
from backburner.brokers.rabbitmq.errors import Lost, root, translation
from backburner.brokers.rabbitmq.link import Channel
from backburner.brokers.rabbitmq.message import Received
from backburner.brokers.rabbitmq.patience import patiently
from backburner.brokers.rabbitmq.publisher import Publisher
from backburner.brokers.rabbitmq.schema import Part, Schema
from backburner.errors import BrokerError, NotSupported
from backburner.job import JobRecord
from backburner.lifecycle import Attempt, State

WINDOW = 2_000
"""Deliveries on one channel. RabbitMQ looks for an acknowledged one among all that the channel holds: to let
go of 500 took 3 s with 65,000 on a channel, and takes 0.07 s with 2,000."""
CHANNELS = 52
"""So a few more than the usual `max_dead`, 100,000."""
HOLD = 60.0
"""Seconds for which they stay in hand: as long as an operator thinks before he answers a question."""
SILENCE = 1.0
"""Seconds without a delivery after which it is looked whether any is left."""
TRIES = 3
"""Looks, when each loses its connection. 100,000 letters take longer than a patience of ten seconds."""
ABSENT = 404


class Letter(NamedTuple):
    """A dead letter in hand."""

    channel: Channel
    tag: int
    body: bytes
    headers: dict[str, Any]

    def read(self, name: str, queue: str) -> Received:
        """What it holds; of one that nobody can read, as much as can be shown."""
        try:
            found = message.received(self.body, self.headers, None)
        except BrokerError as error:
            reason = str(self.headers.get("reason", error))
            job = JobRecord(name, UNREADABLE, queue=queue, state=State.DEAD, reason=reason)
            return Received(job, [], "")
        return found


class Hand:
    """The dead letters of one queue that are in hand, by id, in the order in which they came."""

    def __init__(self, queue: str, name: str) -> None:
        self.queue = queue
        self.name = name
        """Of the AMQP queue."""
        self.letters: dict[str, list[Letter]] = defaultdict(list)
        """Several of one id: it died more than once, since a crash had left a job beside its dead letter."""
        self.channels: list[Channel] = []
        self.arrived = 0
        self.news = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return bool(self.channels) and all(channel.is_open for channel in self.channels)

    async def fill(self, open_channel: Callable[[], Awaitable[Channel]]) -> None:
        """Have them delivered. Raises `Lost`; if it is since there is no such queue, there are none."""
        while len(self.channels) < CHANNELS:
            channel = await open_channel()
            try:
                left = await self._left(channel)
            except Lost as error:
                if getattr(root(error), "reply_code", 0) == ABSENT:
                    return
                raise
            self.channels.append(channel)
            awaited = self.arrived + min(left, WINDOW)
            await channel.call("basic_qos", prefetch_count=WINDOW)
            await channel.consume(self.name, "dead", partial(self._delivered, channel))
            await self._until(channel, awaited)
            if left < WINDOW:
                return

    async def catch_up(self, channels: Collection[Channel] | None = None) -> None:
        """Let what is on its way arrive, there and here: the server answers in order. Raises `Lost`."""
        for channel in self.channels if channels is None else channels:
            await channel.call("basic_qos", prefetch_count=WINDOW)

    async def _until(self, channel: Channel, awaited: int) -> None:
        while self.arrived < awaited:
            self.news.clear()
            try:
                async with asyncio.timeout(SILENCE):
                    await self.news.wait()
            except TimeoutError:
                if not await self._left(channel):
                    await self.catch_up()
                    return  # somebody else has taken some

    async def _left(self, channel: Channel) -> int:
        answer = await channel.call("queue_declare", queue=self.name, passive=True)
        return int(answer.message_count)

    def _delivered(self, channel: Channel, _: Any, method: Any, given: Any, body: bytes) -> None:
        name = str(given.message_id or "") or f"{UNREADABLE}-{hashlib.sha256(body).hexdigest()[:16]}"
        self.letters[name].append(Letter(channel, method.delivery_tag, body, given.headers or {}))
        self.arrived += 1
        self.news.set()

    async def let_go(self, names: Collection[str]) -> None:
        """Acknowledge these; done when the server has heard it. Raises `Lost`."""
        channels = set()
        for name in names:
            for channel, tag, *_ in self.letters.pop(name, ()):
                channels.add(channel)
                if channel.is_open:
                    channel.raw.basic_ack(tag)
        await self.catch_up(channels)

    def close(self) -> None:
        for channel in self.channels:
            if channel.is_open:
                channel.raw.close()


class DeadLetters:
    """Those of the queues of one process. All of it runs on the background's loop. Raises `BrokerError`s."""

    def __init__(
        self,
        address: Address,
        schema: Schema,
        consumer: Consumer,
        publisher: Publisher,
        clock: Callable[[], float],
    ) -> None:
        self._address = address
        self._schema = schema
        self._consumer = consumer
        self._publisher = publisher
        self._clock = clock
        self._hands: dict[str, Hand] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._queues: dict[str, str] = {}
        self._lock = asyncio.Lock()

    async def find(self, which: Filter) -> list[JobRecord]:
        """A page of those that match, the last to die first."""
        if which.states != (State.DEAD,) or which.queue is None:
            raise NotSupported(
                "RabbitMQ alone has no lookup but for dead letters, of one queue at a time: name it, as in "
                "`backburner dead list --queue NAME`; with results=URL all jobs can be found"
            )
        hand = await self._in_hand(which.queue, anew=which.before is None)
        if which.before is None:
            self._queues = {name: each for name, each in self._queues.items() if each != which.queue}
            self._queues |= dict.fromkeys(hand.letters, which.queue)
        found: list[JobRecord] = []
        for name in _after(hand.letters, which.before):
            letter = hand.letters[name][-1]
            job = letter.read(name, which.queue).job
            if _matches(which, job, letter):
                found.append(job)
                if len(found) == which.limit:
                    break
        return found

    async def get(self, ids: Sequence[str]) -> list[JobRecord]:
        return [each.job for each in await self._read(ids)]

    async def history(self, job_id: str) -> list[Attempt]:
        return [line for each in await self._read([job_id]) for line in each.history]

    async def revive(self, ids: Sequence[str]) -> list[str]:
        """Queue them again with fresh attempts; what nobody can read stays dead."""
        done: list[str] = []
        for hand, names in await self._by_hand(ids, anew=True):
            found = {name: hand.letters[name][-1].read(name, hand.queue) for name in names}
            jobs = {name: each for name, each in found.items() if each.job.task != UNREADABLE}
            now = self._clock()
            await self._publisher.publish(
                [
                    message.of(self._schema, revived(each.job, now), now, history=each.history)
                    for each in jobs.values()
                ]
            )
            await self._let_go(hand, jobs)
            done += jobs
        return done

    async def delete(self, ids: Sequence[str]) -> list[str]:
        done: list[str] = []
        for hand, names in await self._by_hand(ids, anew=True):
            await self._let_go(hand, names)
            done += names
        return done

    # In hand -----------------------------------------------------------------------------------------

    async def _read(self, ids: Sequence[str]) -> list[Received]:
        return [
            hand.letters[name][-1].read(name, hand.queue)
            for hand, names in await self._by_hand(ids)
            for name in names
        ]

    async def _by_hand(self, ids: Sequence[str], *, anew: bool = False) -> list[tuple[Hand, list[str]]]:
        """Those that are still there, with the hand that holds them."""
        by_queue: dict[str, list[str]] = defaultdict(list)
        for name in ids:
            if name in self._queues:
                by_queue[self._queues[name]].append(name)
        if ids and not by_queue:
            raise NotSupported(
                "RabbitMQ alone has no lookup: it finds dead letters in a queue, not by id: name the queue, "
                "as in `backburner dead list --queue NAME`; with results=URL all jobs can be found"
            )
        found = []
        for queue, names in by_queue.items():
            hand = await self._in_hand(queue, anew=anew)
            found.append((hand, [name for name in dict.fromkeys(names) if name in hand.letters]))
        return found

    async def _let_go(self, hand: Hand, names: Collection[str]) -> None:
        try:
            await hand.let_go(names)
        except Lost as error:
            raise translation(error, self._address.shown) from error

    async def _in_hand(self, queue: str, *, anew: bool = False) -> Hand:
        async with self._lock:
            hand = await self._look(queue, anew)
        if timer := self._timers.pop(queue, None):
            timer.cancel()
        self._timers[queue] = asyncio.get_running_loop().call_later(HOLD, self._put_back, queue)
        return hand

    async def _look(self, queue: str, anew: bool) -> Hand:
        """What is in hand already, or what there is. A connection may be lost meanwhile, but not always."""
        lost: Exception | None = None
        for _ in range(TRIES):
            hand = self._hands.get(queue)
            try:
                if hand is None or not hand.is_open:
                    self._put_back(queue)
                    hand = Hand(queue, self._schema.name(Part("dead", queue)))
                    await hand.fill(lambda: patiently(self._address, lambda: self._consumer.channel([])))
                elif anew:
                    await hand.catch_up()
            except Lost as error:
                lost = error
                continue
            self._hands[queue] = hand
            return hand
        assert lost is not None
        raise translation(lost, self._address.shown) from lost

    def _put_back(self, queue: str) -> None:
        hand = self._hands.pop(queue, None)
        if hand is not None:
            hand.close()


def revived(job: JobRecord, now: float) -> JobRecord:
    """The dead job as it is queued again: with all its attempts, and no deadline that has passed."""
    return replace(
        job,
        state=State.QUEUED,
        run_at=now,
        attempt=0,
        crashes=0,
        reason=None,
        finished_at=None,
        expires_at=None,
        cancel_requested=False,
    )


def _after(letters: dict[str, list[Letter]], before: str | None) -> Iterator[str]:
    """The last one first, beginning after the one named."""
    newest_first = reversed(letters)
    if before is not None:
        for name in newest_first:
            if name == before:
                break
    return newest_first


def _matches(which: Filter, job: JobRecord, letter: Letter) -> bool:
    return (
        (which.task is None or which.task == job.task)
        and (which.tag is None or which.tag in job.options.tags)
        and (
            which.error is None
            or which.error in (job.reason or "")
            or which.error in str(letter.headers.get("history", ""))
        )
    )
