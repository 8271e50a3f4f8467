"""The ceiling on RabbitMQ: the shortest loop on the same client, pika, that publishes and consumes as safely.

1. `publish` sends persistent messages to a durable quorum queue, a thousand unconfirmed at most, and ends
   when all are confirmed; with a window of one it waits for each.
2. `consume` is given a thousand ahead and acknowledges a hundred at a time. It looks at none of them. It has
   one connection and one thread; no arguments, retries, delays, priorities or events.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

QUEUE = "bare"
AHEAD = 1000
TOGETHER = 100
BODY = b"[12345]" + b" " * 120
"""As long as a job of the benchmark with what goes beside its arguments."""


def publish(url: str, messages: int, window: int = AHEAD) -> float:
    """Messages confirmed a second."""
    return asyncio.run(_with_channel(url, lambda channel, done: _publish(channel, done, messages, window)))


def consume(url: str, messages: int) -> float:
    """Messages delivered and acknowledged a second."""
    return asyncio.run(_with_channel(url, lambda channel, done: _consume(channel, done, messages)))


def _publish(channel: Any, done: asyncio.Future[float], messages: int, window: int) -> None:
    properties = pika.BasicProperties(delivery_mode=2, content_type="application/json")
    sent = confirmed = 0
    began = time.perf_counter()

    def send() -> None:
        nonlocal sent
        while sent < messages and sent - confirmed < window:
            channel.basic_publish("", QUEUE, BODY, properties)
            sent += 1

    def heard(frame: Any) -> None:
        nonlocal confirmed
        confirmed = max(confirmed, frame.method.delivery_tag)
        if confirmed == messages and not done.done():
            done.set_result(messages / (time.perf_counter() - began))
        send()

    channel.confirm_delivery(heard, callback=lambda _: send())


def _consume(channel: Any, done: asyncio.Future[float], messages: int) -> None:
    count = 0
    began = time.perf_counter()

    def take(_: Any, method: Any, __: Any, ___: bytes) -> None:
        nonlocal count
        count += 1
        if count % TOGETHER == 0 or count == messages:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if count == messages:
            done.set_result(messages / (time.perf_counter() - began))

    channel.basic_qos(prefetch_count=AHEAD, callback=lambda _: channel.basic_consume(QUEUE, take))


async def _with_channel(url: str, use: Callable[[Any, asyncio.Future[float]], None]) -> float:
    loop = asyncio.get_running_loop()
    opened, done, closed = loop.create_future(), loop.create_future(), loop.create_future()
    connection = AsyncioConnection(
        pika.URLParameters(url),
        on_open_callback=lambda made: made.channel(on_open_callback=opened.set_result),
        on_close_callback=lambda *_: closed.set_result(None),
    )
    channel = await opened
    declared = loop.create_future()
    channel.queue_declare(
        QUEUE, durable=True, arguments={"x-queue-type": "quorum"}, callback=declared.set_result
    )
    await declared
    use(channel, done)
    rate: float = await done
    connection.close()
    await closed
    return rate
