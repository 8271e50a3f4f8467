"""Periodic tasks on RabbitMQ alone: each fires once, whichever worker does it.

1. `PREFIX.schedules` holds one message a periodic task, with its next fire. It is consumed by every worker,
   but RabbitMQ gives all of it to one of them (a single active consumer), and to another when that one ends.
2. That one keeps the messages unacknowledged, and fires what is due: the jobs and a new message with the
   next fire are published together; when they are confirmed the old message is acknowledged. Nothing is ever
   without a message. If the process dies in between, the fire may come twice; its jobs have the same ids.
3. Every worker that starts announces the periodic tasks of its code. One that is known as it is keeps its
   next fire; of two messages for one task that were not announced the later one counts.
4. If somebody deletes the queue, RabbitMQ ends the consumers. It is declared again, and the process that
   fires publishes again what it had in hand.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from backburner.brokers import flaws
from backburner.brokers.base import StoredSchedule
from backburner.brokers.rabbitmq import message
from backburner.brokers.rabbitmq.address import Address
from backburner.brokers.rabbitmq.consumer import Consumer
from backburner.brokers.rabbitmq.link import Channel
from backburner.brokers.rabbitmq.message import Message
from backburner.brokers.rabbitmq.patience import patiently
from backburner.brokers.rabbitmq.publisher import Publisher
from backburner.brokers.rabbitmq.schema import Part, Schema
from backburner.brokers.rabbitmq.wire import Properties
from backburner.job import JobRecord, new_id
from backburner.schedule import Schedule

logger = logging.getLogger("backburner")
SCHEDULES = Part("schedules")


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a message says of a periodic task."""

    schedule: Schedule
    next_at: float | None
    last_job: str | None = None
    announced: bool = False
    """By a worker that started; otherwise by the one that fires it."""

    @property
    def stored(self) -> StoredSchedule:
        return StoredSchedule(schedule=self.schedule, next_at=self.next_at, last_job=self.last_job)

    def succeeds(self, other: Change) -> bool:
        """Whether this one, which came later, takes the place of the other one."""
        if self.schedule != other.schedule:
            return self.announced or not other.announced
        if self.announced or other.announced:
            return not self.announced
        return _when(self) > _when(other)


class Known(NamedTuple):
    """A periodic task in hand, and the message that it came with."""

    change: Change
    tag: int


_change = msgspec.json.Decoder(Change)


class Schedules:
    """The periodic tasks that this process fires. All of it runs on the background's loop."""

    def __init__(self, address: Address, schema: Schema, consumer: Consumer, publisher: Publisher) -> None:
        self._address = address
        self._schema = schema
        self._consumer = consumer
        self._publisher = publisher
        self._channel: Channel | None = None
        self._known: dict[str, Known] = {}
        self._homeless: list[Change] = []
        """What was in hand when the queue was deleted under it."""
        self._lock = asyncio.Lock()

    async def firing(self) -> list[StoredSchedule]:
        """Those in hand; from the first call on RabbitMQ may give some. Raises `BrokerError`."""
        async with self._lock:
            if self._channel is None or not self._channel.is_open:
                self._channel = await patiently(self._address, self._subscribe)
            if self._homeless:
                await self._publisher.publish([self._message(change) for change in self._homeless])
                self._homeless.clear()
        return [known.change.stored for known in self._known.values()]

    async def announce(self, stored: StoredSchedule) -> None:
        await self._publisher.publish(
            [self._message(Change(stored.schedule, stored.next_at, announced=True))]
        )

    async def advance(
        self, name: str, seen: float, next_at: float | None, jobs: Sequence[JobRecord], now: float
    ) -> bool:
        """Publish the jobs of a fire together with the next one; False if the schedule is not in hand."""
        known = self._known.get(name)
        if known is None or known.change.next_at != seen or not self._holds():
            return False
        last = jobs[-1].id if jobs else known.change.last_job
        moved = Change(known.change.schedule, next_at, last)
        await self._publisher.publish(
            [*(message.of(self._schema, job, now) for job in jobs), self._message(moved)]
        )
        if self._known.get(name) is known:
            del self._known[name]
            self._acknowledge(known.tag)
        return True

    async def _subscribe(self) -> Channel:
        channel = await self._consumer.channel([SCHEDULES])
        self._known.clear()
        channel.raw.add_on_cancel_callback(lambda _: self._cancelled(channel))
        await channel.call(
            "basic_consume",
            queue=self._schema.name(SCHEDULES),
            on_message_callback=lambda _, method, __, body: self._heard(channel, method.delivery_tag, body),
        )
        return channel

    def _cancelled(self, channel: Channel) -> None:
        """Somebody has deleted the queue, and with it the only messages."""
        self._homeless += [known.change for known in self._known.values()]
        self._known.clear()
        self._consumer.forget([SCHEDULES])
        channel.close()

    def _heard(self, channel: Channel, tag: int, body: bytes) -> None:
        try:
            change = _change.decode(body)
        except flaws.DAMAGE:
            logger.exception("a message of somebody else's among the periodic tasks: it is deleted")
            channel.raw.basic_ack(tag)
            return
        name = change.schedule.name
        known = self._known.get(name)
        if known is None or change.succeeds(known.change):
            self._known[name] = Known(change, tag)
            tag = known.tag if known is not None else 0
        if tag:
            channel.raw.basic_ack(tag)

    def _acknowledge(self, tag: int) -> None:
        if self._channel is not None and self._holds():
            self._channel.raw.basic_ack(tag)

    def _holds(self) -> bool:
        """Whether what is in hand has not gone to another process."""
        return self._channel is not None and self._channel.is_open

    def _message(self, change: Change) -> Message:
        return Message(
            self._schema.direct(SCHEDULES),
            msgspec.json.encode(change),
            Properties(new_id(), content_type="application/json"),
        )


def _when(change: Change) -> float:
    """Its next fire; after the last one there is none."""
    return math.inf if change.next_at is None else change.next_at
