"""RabbitMQ, through pika.

1. Messages are persistent, and go to a durable quorum queue. So many are unconfirmed at most
   as other brokers are given in one transaction.
2. A worker is given ten batches ahead, acknowledges a batch at a time, and keeps no results.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import cache
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

from bench.bare import BULK, PAUSE, Stopped, decode, until
from bench.systems import jobs

QUEUE = "bare"
AHEAD = 10
PROPERTIES = pika.BasicProperties(delivery_mode=2, content_type="application/json")


def prepare(url: str) -> None:
    asyncio.run(_prepare(url))


async def _prepare(url: str) -> None:
    channel = await _channel(url)
    declared = asyncio.get_running_loop().create_future()
    quorum = {"x-queue-type": "quorum"}
    channel.queue_declare(QUEUE, durable=True, arguments=quorum, callback=declared.set_result)
    await declared
    await _close(channel)


def insert(url: str, payloads: Sequence[bytes]) -> None:
    _publisher(url).publish(payloads)


class Publisher:
    """A channel with confirms, on an event loop of its own."""

    def __init__(self, url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.sent = 0
        self.waiting: deque[bytes] = deque()
        self.unconfirmed: dict[int, None] = {}
        self.channel = self.loop.run_until_complete(self._open(url))
        self.confirmed: asyncio.Future[None] = self.loop.create_future()

    async def _open(self, url: str) -> Any:
        channel, ready = await _channel(url), self.loop.create_future()
        channel.confirm_delivery(self._heard, callback=ready.set_result)
        await ready
        return channel

    def publish(self, payloads: Sequence[bytes]) -> None:
        self.confirmed = self.loop.create_future()
        self.waiting.extend(payloads)
        self._send()
        self.loop.run_until_complete(self.confirmed)

    def _send(self) -> None:
        while self.waiting and len(self.unconfirmed) < BULK:
            self.channel.basic_publish("", QUEUE, self.waiting.popleft(), PROPERTIES)
            self.sent += 1
            self.unconfirmed[self.sent] = None

    def _heard(self, frame: Any) -> None:
        tag = frame.method.delivery_tag
        confirmed = [each for each in self.unconfirmed if each <= tag] if frame.method.multiple else [tag]
        for each in confirmed:
            del self.unconfirmed[each]
        self._send()
        if not self.unconfirmed:
            self.confirmed.set_result(None)


async def work(url: str, batch: int, stopped: Stopped) -> None:
    channel = await _channel(url)
    arrived: deque[tuple[int, bytes]] = deque()

    def take(_: Any, method: Any, __: Any, body: bytes) -> None:
        arrived.append((method.delivery_tag, body))

    channel.basic_qos(
        prefetch_count=AHEAD * batch,
        callback=lambda _: channel.basic_consume(QUEUE, on_message_callback=take),
    )
    while not stopped():
        together = [arrived.popleft() for _ in range(min(batch, len(arrived)))]
        for _, body in together:
            await jobs.arun(*decode(body))
        if together:
            channel.basic_ack(together[-1][0], multiple=True)
        await asyncio.sleep(0 if together else PAUSE)
    await _close(channel)


def wake(url: str, payload: bytes) -> None:
    insert(url, [payload])


async def hear(url: str, stop: asyncio.Event) -> None:
    channel = await _channel(url)

    def take(_: Any, method: Any, __: Any, body: bytes) -> None:
        heard.put_nowait(decode(body))
        channel.basic_ack(method.delivery_tag)

    heard: asyncio.Queue[tuple[str, float]] = asyncio.Queue()
    channel.basic_qos(
        prefetch_count=AHEAD,
        callback=lambda _: channel.basic_consume(QUEUE, on_message_callback=take),
    )
    await until(stop, _run(heard))
    await _close(channel)


async def _run(heard: asyncio.Queue[tuple[str, float]]) -> None:
    while True:
        await jobs.arun(*await heard.get())


async def _channel(url: str) -> Any:
    opened = asyncio.get_running_loop().create_future()
    AsyncioConnection(
        pika.URLParameters(url),
        on_open_callback=lambda made: made.channel(on_open_callback=opened.set_result),
        on_open_error_callback=lambda _, error: opened.set_exception(error),
    )
    return await opened


async def _close(channel: Any) -> None:
    closed = asyncio.get_running_loop().create_future()
    channel.connection.add_on_close_callback(lambda *_: closed.set_result(None))
    channel.connection.close()
    await closed


@cache
def _publisher(url: str) -> Publisher:
    return Publisher(url)
