"""What a test puts into RabbitMQ, takes away, and asks it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from backburner import lifecycle
from backburner.brokers.base import Claim
from backburner.brokers.rabbitmq import address
from backburner.brokers.rabbitmq.broker import RabbitBroker
from backburner.brokers.rabbitmq.errors import Lost, root
from backburner.brokers.rabbitmq.link import connect
from backburner.job import JobRecord, new_id
from backburner.lifecycle import ErrorInfo


def new_job(**fields: Any) -> JobRecord:
    return JobRecord(**{"id": new_id(), "task": "t", **fields})


def add(broker: RabbitBroker, count: int = 1, **fields: Any) -> list[JobRecord]:
    return broker.run(broker.enqueue([new_job(**fields) for _ in range(count)], {}))


def take(broker: RabbitBroker, count: int = 1, queue: str = "default") -> list[JobRecord]:
    return broker.run(broker.exchange([], Claim(worker="w", queues=(queue,), limit=count))).jobs


def bury(broker: RabbitBroker, jobs: Sequence[JobRecord], message: str = "no address") -> None:
    """These were claimed; they die."""
    error = ErrorInfo("shop.NoAddress", message, f"Traceback …\nshop.NoAddress: {message}")
    dead = [lifecycle.dead(job, error, "not retryable: NoAddress", broker.now()) for job in jobs]
    assert broker.run(broker.exchange(dead, None)).lost == []


def dead_letters(broker: RabbitBroker, count: int = 1, queue: str = "mail", **fields: Any) -> list[JobRecord]:
    """So many jobs of a queue that died one after the other."""
    add(broker, count, queue=queue, **fields)
    dead: list[JobRecord] = []
    while len(dead) < count:
        found = take(broker, count - len(dead), queue)
        bury(broker, found)
        dead += found
    return dead


def ask(url: str, method: str, **given: Any) -> Any:
    """One call to the server, by pika's name of it. Raises what the server says against it."""

    async def asked() -> Any:
        link = await connect(address.read(url), "test")
        try:
            return await (await link.channel()).call(method, **given)
        except Lost as lost:
            raise root(lost) from None
        finally:
            await link.close()

    return asyncio.run(asked())


def waiting(url: str, name: str) -> int:
    """The messages that wait in an AMQP queue of the prefix."""
    prefix = address.read(url).prefix
    return int(ask(url, "queue_declare", queue=f"{prefix}.{name}", passive=True).message_count)


def publish(url: str, queue: str, body: bytes) -> None:
    """A message of somebody else's, into an AMQP queue."""

    async def published() -> None:
        link = await connect(address.read(url), "test")
        channel = await link.channel()
        channel.raw.basic_publish("", queue, body)
        await channel.call("basic_qos", prefetch_count=1)
        await link.close()

    asyncio.run(published())
