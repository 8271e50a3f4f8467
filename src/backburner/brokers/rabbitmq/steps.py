"""What an operation on RabbitMQ yields. Each step is performed on the background's loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from backburner.brokers.base import Claim, Exchange, StoredSchedule
from backburner.brokers.rabbitmq import message
from backburner.brokers.rabbitmq.message import Message
from backburner.brokers.rabbitmq.schema import Schema
from backburner.job import JobRecord
from backburner.lifecycle import Settlement

if TYPE_CHECKING:
    from backburner.brokers.rabbitmq.dead_letters import DeadLetters
    from backburner.brokers.rabbitmq.driver import Driver
    from backburner.doctor import Check


class Publish(NamedTuple):
    """Publish all of these, in one batch; done when they are confirmed."""

    messages: Sequence[Message]

    async def perform(self, driver: Driver) -> None:
        await driver.publisher.publish(self.messages)


class Enter(NamedTuple):
    """Publish these jobs, which are new. They are written down by who performs it."""

    jobs: Sequence[JobRecord]
    now: float

    def messages(self, schema: Schema) -> list[Message]:
        """Raises `BrokerError` for one that cannot be."""
        return [message.of(schema, job, self.now) for job in self.jobs]

    async def perform(self, driver: Driver) -> None:
        await driver.publisher.publish(self.messages(driver.schema))


class Trade(NamedTuple):
    """Settle these deliveries and claim those."""

    settlements: Sequence[Settlement]
    claim: Claim | None

    async def perform(self, driver: Driver) -> Exchange:
        return await driver.claims.exchange(self.settlements, self.claim)


class Applied(NamedTuple):
    """Which of these an exchange that failed had settled."""

    settlements: Sequence[Settlement]

    async def perform(self, driver: Driver) -> list[Settlement]:
        return driver.claims.applied(self.settlements)


class Held(NamedTuple):
    """The jobs that a worker of this process holds."""

    worker: str

    async def perform(self, driver: Driver) -> list[JobRecord]:
        await driver.publisher.connect()
        return driver.claims.held(self.worker)


class SetPaused(NamedTuple):
    """Let nothing more be claimed from a queue, or let it go on."""

    queue: str
    paused: bool

    async def perform(self, driver: Driver) -> None:
        await driver.set_paused(self.queue, self.paused)


class Examine(NamedTuple):
    """Look at the server, and at these queues on it."""

    queues: Collection[str]

    async def perform(self, driver: Driver) -> list[Check]:
        from backburner.brokers.rabbitmq.doctor import examine

        return await examine(driver.address, driver.schema, self.queues)


class WithDeadLetters(NamedTuple):
    """Something that is done with the dead letters of a queue."""

    act: Callable[[DeadLetters], Awaitable[Any]]

    async def perform(self, driver: Driver) -> Any:
        return await self.act(driver.dead_letters)


class Firing(NamedTuple):
    """The periodic tasks that are this process's to fire."""

    async def perform(self, driver: Driver) -> list[StoredSchedule]:
        return await driver.schedules.firing()


class Announce(NamedTuple):
    """A periodic task of this code."""

    stored: StoredSchedule

    async def perform(self, driver: Driver) -> None:
        await driver.schedules.announce(self.stored)


class Advance(NamedTuple):
    """Fire: publish the jobs, and the periodic task with its next fire."""

    name: str
    seen: float
    next_at: float | None
    jobs: Sequence[JobRecord]

    async def perform(self, driver: Driver) -> bool:
        return await driver.schedules.advance(self.name, self.seen, self.next_at, self.jobs, driver.clock())
