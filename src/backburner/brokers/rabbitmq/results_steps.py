"""What an operation of RabbitMQ with a results store yields, beside `Publish`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from backburner.brokers.base import Operation
from backburner.brokers.rabbitmq.copies import Copy, Look
from backburner.brokers.rabbitmq.message import Message

if TYPE_CHECKING:
    from backburner.brokers.rabbitmq.driver import Driver

T = TypeVar("T")


class InStore(NamedTuple):
    """An operation of the store, which performs it itself; the reply is its result."""

    operation: Operation[Any]
    apart: bool = False
    """Never within a caller's transaction: the reply is None there."""


class Keep(NamedTuple):
    """Publish these copies, or put them aside while RabbitMQ is away."""

    messages: Sequence[Message]

    async def perform(self, driver: Driver) -> None:
        await driver.copies.keep(self.messages)


class LookAt(NamedTuple):
    """Which copies in hand are to be looked at."""

    queues: Collection[str]

    async def perform(self, driver: Driver) -> Look:
        return driver.copies.look(self.queues)


class Spend(NamedTuple):
    """Acknowledge copies that are of no use."""

    copies: Sequence[Copy]

    async def perform(self, driver: Driver) -> None:
        driver.copies.spend(self.copies)


class Renew(NamedTuple):
    """Replace copies by those of another store."""

    copies: Sequence[Copy]
    store: str
    now: float

    async def perform(self, driver: Driver) -> None:
        await driver.copies.renew(self.copies, self.store, self.now)


class Turn(NamedTuple):
    """Put copies that are of use to the end, where they fill a window."""

    copies: Sequence[Copy]
    store: str
    now: float

    async def perform(self, driver: Driver) -> bool:
        return await driver.copies.turn(self.copies, self.store, self.now)


def in_store(operation: Operation[T]) -> Operation[T]:
    """Nothing but that."""
    result: T = yield InStore(operation)
    return result


def alone(step: Any) -> Operation[Any]:
    """An operation of one step."""
    return (yield step)
