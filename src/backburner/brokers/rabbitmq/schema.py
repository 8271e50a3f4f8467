"""What is declared in RabbitMQ: queues, exchanges, and how they are bound.

1. The jobs of a queue wait in one AMQP queue for each band of priority, `PREFIX.BAND.QUEUE`. A worker takes
   from the higher band first. `front` holds what comes back to its place in line, and `suspects` what may
   be killing its workers: `consumer.py` says how they are taken.
2. What is not due yet waits in the levels `PREFIX.delay.27` … `PREFIX.delay.0`. Level n keeps every message
   for 2^n seconds and hands it to the level below, whose exchange keeps it for another 2^(n-1) seconds or
   passes it on, as the bits of the delay say that its routing key begins with. All messages of a level wait
   equally long, so that none waits behind a longer one. (The way of NServiceBus:
   https://docs.particular.net/transports/rabbitmq/delayed-delivery)
3. At the end of the key stands the address, `BAND.QUEUE`, by which the exchange `PREFIX.due` finds the
   queue.
4. Dead jobs are kept in `PREFIX.dead.QUEUE`. A queue is paused while `PREFIX.gate.QUEUE` holds a message.
   `PREFIX.schedules` holds one message a periodic task. `PREFIX.control` tells all workers of a pause.
5. Everything is durable, declared before it is used, and declared again when it turns out to be missing.
   Declaring what is there is nothing, unless it was made with other arguments: `errors.py` says so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from backburner.errors import BrokerError, ConfigError

FRONT = "front"
SUSPECTS = "suspects"
BANDS = {"urgent": 50, "high": 1, "normal": 0, "low": -49, "idle": -100}
"""The lowest priority of each band, highest band first."""
LANES = (FRONT, *BANDS, SUSPECTS)
"""All queues in which the jobs of one queue wait."""
LEVELS = 28
LONGEST = 2**LEVELS - 1
"""Seconds that a job can be delayed: eight and a half years."""
UNLIMITED = 2**31 - 1
"""Redeliveries of one message. RabbitMQ 4 deletes it after 20 if nothing is said: we count by ourselves."""
WEEK = 7 * 24 * 3_600_000
"""Milliseconds that a job may run before RabbitMQ takes it for forgotten; heeded from RabbitMQ 3.12 on."""


class Part(NamedTuple):
    """Something that is declared together."""

    kind: str
    """work, delays, dead, gate, schedules or control"""
    queue: str = ""
    band: str = ""


class Declaration(NamedTuple):
    """One call, by pika's name of it, with its arguments."""

    method: str
    given: dict[str, Any]


class Route(NamedTuple):
    """Where a message is published, and what must have been declared for it."""

    exchange: str
    key: str
    parts: tuple[Part, ...]


def band_of(priority: int) -> str:
    for band, lowest in BANDS.items():
        if priority >= lowest:
            return band
    return "idle"


class Schema:
    """The names and arguments for one prefix; `kind` of queue is quorum or classic."""

    def __init__(self, prefix: str, kind: str) -> None:
        self.prefix = prefix
        self.kind = kind
        self._direct: dict[Part, Route] = {}

    # Names -------------------------------------------------------------------------------------------

    def name(self, part: Part) -> str:
        """The AMQP queue. Raises `ConfigError` for a name that is too long."""
        found = ".".join(filter(None, (self.prefix, part.band or part.kind, part.queue)))
        if len(found.encode()) > 200:
            raise ConfigError(
                f"queue {part.queue!r} has too long a name for RabbitMQ: take 150 bytes at most"
            )
        return found

    @property
    def control(self) -> str:
        return f"{self.prefix}.control"

    def route(self, queue: str, band: str, delay: float = 0.0) -> Route:
        """For a job that is due in `delay` seconds. Raises `BrokerError` for too long a delay."""
        part = Part("work", queue, band)
        if delay <= 0:
            return self.direct(part)
        if not delay <= LONGEST:
            raise BrokerError(
                f"a job can be delayed by {LONGEST} s on RabbitMQ, not by {delay:.0f}: schedule it later"
            )
        seconds = -int(-delay // 1)
        bits = ".".join(f"{seconds:0{LEVELS}b}")
        return Route(
            self._level(seconds.bit_length() - 1), f"{bits}.{_address(part)}", (part, Part("delays"))
        )

    def direct(self, part: Part) -> Route:
        """Straight into that queue."""
        found = self._direct.get(part)
        if found is None:
            found = self._direct[part] = Route("", self.name(part), (part,))
        return found

    def _level(self, level: int) -> str:
        return f"{self.prefix}.delay.{level}" if level >= 0 else f"{self.prefix}.due"

    # Declarations ------------------------------------------------------------------------------------

    def declarations(self, part: Part) -> Iterator[Declaration]:
        """In the order in which they have to be made."""
        if part.kind == "delays":
            yield from self._delays()
        elif part.kind == "control":
            yield _exchange(self.control, "fanout")
        else:
            name = self.name(part)
            yield Declaration(
                "queue_declare", {"queue": name, "durable": True, "arguments": self._arguments(part)}
            )
            if part.kind == "work":
                pattern = "*." * LEVELS + _address(part)
                yield _exchange(self._level(-1), "topic")
                yield Declaration(
                    "queue_bind", {"queue": name, "exchange": self._level(-1), "routing_key": pattern}
                )

    def _arguments(self, part: Part) -> dict[str, Any]:
        found: dict[str, Any] = {"x-queue-type": self.kind, "x-consumer-timeout": WEEK}
        if self.kind == "quorum":
            found["x-delivery-limit"] = UNLIMITED
        if part.kind == "schedules":
            found["x-single-active-consumer"] = True
        return found

    def _delays(self) -> Iterator[Declaration]:
        yield _exchange(self._level(-1), "topic")
        for level in range(LEVELS):
            name, below = self._level(level), self._level(level - 1)
            before = "*." * (LEVELS - 1 - level)
            yield _exchange(name, "topic")
            yield Declaration(
                "queue_declare",
                {"queue": name, "durable": True, "arguments": self._level_arguments(level, below)},
            )
            yield Declaration("queue_bind", {"queue": name, "exchange": name, "routing_key": f"{before}1.#"})
            yield Declaration(
                "exchange_bind", {"destination": below, "source": name, "routing_key": f"{before}0.#"}
            )

    def _level_arguments(self, level: int, below: str) -> dict[str, Any]:
        passing_on = {"x-message-ttl": 2**level * 1000, "x-dead-letter-exchange": below}
        if self.kind == "classic":
            return {"x-queue-type": "classic", **passing_on}
        # At least once: the message leaves a level when the one below has confirmed it.
        return {
            "x-queue-type": "quorum",
            **passing_on,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }


def _exchange(name: str, kind: str) -> Declaration:
    return Declaration("exchange_declare", {"exchange": name, "exchange_type": kind, "durable": True})


def _address(part: Part) -> str:
    """Two words of a routing key, which is 255 bytes at most and has a meaning for dots and wildcards."""
    plain = re.fullmatch(r"[\w-]{1,120}", part.queue, re.ASCII)
    return f"{part.band}.{part.queue if plain else hashlib.sha256(part.queue.encode()).hexdigest()}"
