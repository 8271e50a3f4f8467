"""One connection to RabbitMQ and its channels, as coroutines.

pika calls back; here a call is awaited, and fails with `Lost` when the connection or the channel ends first.
All of it runs on one event loop, that of `background.py`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import pika
from pika import exceptions

from backburner.brokers.rabbitmq.address import Address
from backburner.brokers.rabbitmq.connection import Confirms, Connection, Deliveries
from backburner.brokers.rabbitmq.errors import Lost
from backburner.brokers.rabbitmq.wire import Properties, publication
from backburner.errors import BrokerError

# What pika reports with a traceback (a node that restarts, say) is told once: as an error or event of ours.
logging.getLogger("pika").setLevel(logging.CRITICAL)

HANDSHAKE = 5.0
"""Seconds that a connection may take to open, at most."""
NOT_AMQP = (ValueError, exceptions.UnsupportedAMQPFieldException, exceptions.ShortStringTooLong)
GOODBYE = 1.0
"""Seconds that the server is given to answer the end of a connection."""


class Channel:
    """A channel. `lost` is done when it ended, with the reason."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.lost: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._waiting: set[asyncio.Future[Any]] = set()
        raw.add_on_close_callback(lambda _, reason: self.end(reason))

    @property
    def is_open(self) -> bool:
        return not self.lost.done() and bool(self.raw.is_open)

    async def call(self, method: str, **arguments: Any) -> Any:
        """Ask, and wait for the answer's method frame. Raises `Lost`."""
        if not self.is_open:
            raise Lost from (self.lost.result() if self.lost.done() else None)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.add(answer)
        try:
            getattr(self.raw, method)(**arguments, callback=lambda frame: _give(answer, frame))
            frame = await answer
        except exceptions.AMQPError as error:
            raise Lost from error
        finally:
            self._waiting.discard(answer)
        return frame.method

    async def confirm(self, hear: Confirms) -> None:
        """Have what is published here confirmed. Raises `Lost`."""
        confirms, number = self.raw.connection.confirms, self.raw.channel_number
        confirms[number] = hear
        self.lost.add_done_callback(lambda _: confirms.pop(number, None))
        await self.call("confirm_delivery", ack_nack_callback=hear)  # which hears nothing: all is read before

    async def consume(self, queue: str, tag: str, take: Deliveries) -> None:
        """Begin a consumer. Raises `Lost`."""
        self.raw.connection.direct[self.raw.channel_number, tag.encode()] = (self.raw, take)
        await self.call("basic_consume", queue=queue, consumer_tag=tag, on_message_callback=take)

    async def cancel(self, tag: str) -> None:
        """End a consumer. What is delivered until the server answers still reaches its callback.

        pika would reject that, which the server counts as a redelivery. Raises `Lost`.
        """
        answer = asyncio.ensure_future(self._end(tag))
        await asyncio.sleep(0)
        self.raw._cancelled.discard(tag)
        await answer
        self.raw.connection.direct.pop((self.raw.channel_number, tag.encode()), None)

    async def _end(self, tag: str) -> None:
        if tag in self.raw._consumers:  # or the server has ended it, and pika would not call back
            await self.call("basic_cancel", consumer_tag=tag)

    def publish(self, exchange: str, key: str, mandatory: bool, properties: Properties, body: bytes) -> None:
        """Send a message. Raises `Lost`, and `BrokerError` for one that cannot be written down."""
        if not self.is_open:
            raise Lost from (self.lost.result() if self.lost.done() else None)
        connection = self.raw.connection
        try:
            frames = publication(
                self.raw.channel_number, exchange, key, mandatory, properties, body, connection.most
            )
        except NOT_AMQP as error:
            raise BrokerError(f"message {properties.message_id} cannot be sent: {error!r}") from error
        connection.send(frames)

    def close(self) -> None:
        """Nobody needs it any more. What came on it and is not acknowledged goes back."""
        if not (self.raw.is_closed or self.raw.is_closing):
            self.raw.close()

    def end(self, reason: BaseException) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)
        for answer in self._waiting:
            if not answer.done():
                lost = Lost()
                lost.__cause__ = reason
                answer.set_exception(lost)


class Link:
    """A connection. `blocked` says why the server takes no messages just now, if so."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.blocked: str | None = None
        self.free = asyncio.Event()
        """Set while it is not blocked."""
        self.free.set()
        self._channels: list[Channel] = []
        raw.add_on_close_callback(lambda _, reason: self._closed(reason))
        raw.add_on_connection_blocked_callback(lambda _, frame: self._set_blocked(frame.method.reason))
        raw.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(None))

    @property
    def is_open(self) -> bool:
        return bool(self.raw.is_open)

    @property
    def server(self) -> dict[str, Any]:
        """What the server says of itself."""
        return dict(self.raw.server_properties or {})

    async def channel(self) -> Channel:
        """A new channel. Raises `Lost`."""
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            raw = self.raw.channel(on_open_callback=lambda channel: _give(opened, channel))
        except exceptions.AMQPError as error:
            raise Lost from error
        made = Channel(raw)
        self._channels = [each for each in self._channels if each.is_open or each is made]
        self._channels.append(made)
        try:
            await asyncio.wait([opened, made.lost], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            made.close()
            raise
        if not opened.done():
            raise Lost from made.lost.result()
        return made

    async def close(self) -> None:
        """Say goodbye, and wait for the answer for a moment."""
        if self.raw.is_closed:
            return
        ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.raw.add_on_close_callback(lambda *_: _give(ended, None))
        if self.raw.is_open:
            self.raw.close()
            await asyncio.wait([ended], timeout=GOODBYE)
        if not ended.done():
            self.raw.cut()
            await asyncio.wait([ended], timeout=GOODBYE)

    def _closed(self, reason: BaseException) -> None:
        self._set_blocked(None)
        for channel in self._channels:
            channel.end(reason)

    def _set_blocked(self, reason: str | None) -> None:
        self.blocked = reason
        if reason is None:
            self.free.set()
        else:
            self.free.clear()


async def connect(address: Address, name: str) -> Link:
    """A connection to one of the hosts. Raises pika's errors; `errors.py` translates them."""
    context = address.tls_context()
    given: dict[str, Any] = {} if address.heartbeat is None else {"heartbeat": max(1, int(address.heartbeat))}
    parameters = [
        pika.ConnectionParameters(
            host,
            port,
            address.vhost,
            pika.PlainCredentials(address.username, address.password),
            ssl_options=pika.SSLOptions(context, host) if context else None,
            socket_timeout=HANDSHAKE,
            stack_timeout=HANDSHAKE,
            client_properties={"connection_name": name},
            **given,
        )
        for host, port in random.sample(address.hosts, len(address.hosts))
    ]
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    workflow = Connection.create_connection(
        parameters, lambda found: _give(done, found), custom_ioloop=asyncio.get_running_loop()
    )
    try:
        found = await asyncio.shield(done)
    except asyncio.CancelledError:
        workflow.abort()
        if isinstance(found := await done, Connection):
            found.cut()
        raise
    if isinstance(found, BaseException):
        raise found
    return Link(found)


def _give(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)
