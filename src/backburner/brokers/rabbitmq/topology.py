"""What of `schema.py` is on the server: made as this URL wants it, how much is in it, and who takes from it.

1. Each queue and exchange is looked for first (a passive declaration), so that nothing is made.
2. What is there is declared as this URL wants it. That changes nothing; if the server has it with other
   arguments it says which, and ends the channel: a new one is taken.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from backburner.brokers.rabbitmq.address import Address
from backburner.brokers.rabbitmq.errors import Lost, root
from backburner.brokers.rabbitmq.link import Channel, Link
from backburner.brokers.rabbitmq.schema import LANES, LEVELS, Declaration, Part, Schema
from backburner.doctor import Check, Level
from backburner.words import plural

ANSWER = 5.0
"""Seconds for an answer. A queue that has lost the majority of its nodes gives none."""
ABSENT, DIFFERENT = 404, 406
KIND = "x-queue-type"
_DIFFERENCE = re.compile(
    r"inequivalent arg '(?P<argument>.+?)' for (?P<kind>queue|exchange) '(?P<name>.+)' in vhost '.*': "
    r"received (?P<wanted>.+) but current is (?P<had>.+)"
)
_VALUE = re.compile(r"(?:the value )?'(.*?)'(?: of type '\w+')?")


async def answer(channel: Channel, method: str, **given: Any) -> Any:
    """`Channel.call`, which does not wait for ever. Raises `Lost`, `TimeoutError`."""
    async with asyncio.timeout(ANSWER):
        return await channel.call(method, **given)


class Found(NamedTuple):
    """What a queue holds."""

    ready: int
    consumers: int


class Difference(NamedTuple):
    """An argument that the server has with another value."""

    kind: str
    argument: str
    had: str
    wanted: str


class Look:
    """What was found on the server."""

    def __init__(self, link: Link, schema: Schema) -> None:
        self._link = link
        self._schema = schema
        self._channel: Channel | None = None
        self._other_kind = "classic" if schema.kind == "quorum" else "quorum"
        self.queues: dict[str, Found] = {}
        """By the AMQP queue's name; those that exist."""
        self.differences: dict[Difference, list[str]] = defaultdict(list)
        self.troubles: dict[str, str] = {}

    async def at(self, parts: Iterable[Part]) -> None:
        """Look at all that belongs to these. Raises `Lost` for the connection."""
        for part in parts:
            others = Schema(self._schema.prefix, self._other_kind).declarations(part)
            for wanted, other in zip(self._schema.declarations(part), others, strict=True):
                if wanted.method in ("queue_declare", "exchange_declare"):
                    await self._compare(wanted, other)

    async def _compare(self, wanted: Declaration, other: Declaration) -> None:
        kind = wanted.method.removesuffix("_declare")
        name = wanted.given[kind]
        try:
            there = await self._ask(wanted.method, **{kind: name, "passive": True})
            if kind == "queue":
                self.queues[name] = Found(there.message_count, there.consumer_count)
            await self._ask(wanted.method, **wanted.given)
        except TimeoutError:
            self.troubles[name] = f"does not answer within {ANSWER:g} s: has it lost most of its nodes?"
            self._channel = None
        except Lost as error:
            if not self._link.is_open:
                raise
            reason = root(error)
            if getattr(reason, "reply_code", 0) == DIFFERENT and kind == "queue" and await self._is(other):
                self.differences[Difference(kind, KIND, self._other_kind, self._schema.kind)].append(name)
            else:
                self._note(name, reason)

    async def _is(self, other: Declaration) -> bool:
        """Whether it is made as the other `?queues=` makes it, which differs in several arguments."""
        try:
            await self._ask(other.method, **other.given)
        except Lost:
            return False
        return True

    def _note(self, name: str, reason: BaseException) -> None:
        code, text = getattr(reason, "reply_code", 0), getattr(reason, "reply_text", str(reason))
        match = _DIFFERENCE.search(text)
        if code == DIFFERENT and match:
            kind, argument = match["kind"], match["argument"]
            difference = Difference(kind, argument, _plain(match["had"]), _plain(match["wanted"]))
            self.differences[difference].append(name)
        elif code != ABSENT or not text.startswith(("NOT_FOUND - no queue", "NOT_FOUND - no exchange")):
            self.troubles[name] = text

    async def _ask(self, method: str, **given: Any) -> Any:
        if self._channel is None or not self._channel.is_open:
            self._channel = await self._link.channel()
        return await answer(self._channel, method, **given)


async def compare(link: Link, address: Address, schema: Schema, queues: Collection[str]) -> list[Check]:
    """The checks of what is shared by all, and of these queues. Raises `Lost`."""
    look = Look(link, schema)
    await look.at([Part("control"), Part("delays"), Part("schedules")])
    for queue in queues:
        await look.at(_parts(queue))
    return [
        *_differences(look, address),
        *(Check(Level.FAIL, f"{name}: {text}", "look at its log") for name, text in look.troubles.items()),
        *_shared(look, schema),
        *(check for queue in queues for check in _queue(look, schema, queue)),
    ]


def _parts(queue: str) -> list[Part]:
    return [
        *(Part("work", queue, band) for band in LANES),
        Part("dead", queue),
        Part("gate", queue),
    ]


def _plain(value: str) -> str:
    """A value in the server's words, without its type."""
    match = _VALUE.fullmatch(value)
    return match[1] if match else value


def _differences(look: Look, address: Address) -> Iterator[Check]:
    if not look.differences:
        yield Check(Level.OK, "what is declared there is as this URL wants it")
    for (kind, argument, had, wanted), names in look.differences.items():
        which = f"{names[0]} and {len(names) - 1} more have" if names[1:] else f"{names[0]} has"
        yield Check(
            Level.FAIL,
            f"{kind} {which} {argument} {had}, and this URL wants {wanted}",
            _way_out(kind, argument, had, names[0], address),
        )


def _way_out(kind: str, argument: str, had: str, name: str, address: Address) -> str:
    first = f"write ?queues={had} into the URL; or " if argument == KIND else ""
    if kind == "queue":
        delete = f"rabbitmqctl delete_queue --vhost {address.vhost} {name}"
    else:
        delete = f"rabbitmqadmin --vhost={address.vhost} delete exchange name={name}"
    return (
        f"{first}let workers with the old URL take all that waits, stop them, and delete each such {kind}: "
        f"`{delete}`; or take another ?prefix="
    )


def _shared(look: Look, schema: Schema) -> Iterator[Check]:
    levels = [f"{schema.prefix}.delay.{level}" for level in range(LEVELS)]
    delayed = sum(look.queues[name].ready for name in levels if name in look.queues)
    yield Check(Level.OK, f"{plural(delayed, 'job is', 'jobs are')} not due yet")
    schedules = look.queues.get(schema.name(Part("schedules")))
    if schedules is not None and schedules.ready and not schedules.consumers:
        yield Check(
            Level.WARN,
            f"{plural(schedules.ready, 'periodic task waits', 'periodic tasks wait')}, and nobody fires them",
            "backburner worker MODULE:APP",
        )


def _queue(look: Look, schema: Schema, queue: str) -> Iterator[Check]:
    def found(part: Part) -> Found | None:
        return look.queues.get(schema.name(part))

    lanes = [each for band in LANES if (each := found(Part("work", queue, band)))]
    gate, dead = found(Part("gate", queue)), found(Part("dead", queue))
    ready = sum(each.ready for each in lanes)
    waits = f"queue {queue!r} has {plural(ready, 'job', 'jobs')} waiting"
    if not lanes:
        yield Check(Level.OK, f"queue {queue!r} is not there yet: the first enqueue or worker makes it")
    elif gate is not None and gate.ready:
        yield Check(Level.WARN, f"{waits} and is paused", f"backburner queues resume {queue}")
    elif ready and not any(each.consumers for each in lanes):
        yield Check(
            Level.WARN,
            f"{waits} and no worker asks for them",
            f"backburner worker MODULE:APP --queues {queue}, unless all of its workers are busy",
        )
    else:
        yield Check(Level.OK, waits)
    if dead is not None and dead.ready:
        yield Check(
            Level.OK,
            f"queue {queue!r} has {plural(dead.ready, 'dead letter', 'dead letters')}",
            f"backburner dead list --queue {queue}",
        )
