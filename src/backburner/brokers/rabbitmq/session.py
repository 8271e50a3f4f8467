"""A connection to RabbitMQ that one thread uses at a time: a message goes out, and its confirm is waited for.

A connection of pika belongs to an event loop; here a message and its confirm are one `send` and one `recv`.
What else is said is written and read by pika's codecs. AMQP 0-9-1, sections 2.2.4 and 4.2.2, has the order:
https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf
"""

from __future__ import annotations

import random
import socket
import time
from contextlib import suppress
from typing import Any

from pika import frame, spec

from backburner.brokers.rabbitmq.address import Address
from backburner.brokers.rabbitmq.errors import Lost, blocked
from backburner.brokers.rabbitmq.link import GOODBYE, HANDSHAKE
from backburner.brokers.rabbitmq.message import Message
from backburner.brokers.rabbitmq.wire import NO_PROPERTIES, Confirm, Incomplete, publication, read
from backburner.errors import BrokerUnavailable

TROUBLE = (Lost, *NO_PROPERTIES)
"""What goes wrong with one that was opened, and with what its server says."""
HEARTBEAT = 60
"""Seconds, which RabbitMQ takes from the client. None is sent here: the connection is closed before."""
PIECE = 1 << 16
"""Bytes that are read at a time."""
PROPERTIES = {
    "product": "Backburner",
    "connection_name": "backburner alone",
    "capabilities": {"publisher_confirms": True, "basic.nack": True, "connection.blocked": True},
}
CHANNEL = 1


def opened(address: Address) -> Session:
    """On one of the hosts. Raises `TROUBLE`, and `ConfigError` for files that cannot be read."""
    trouble: Exception = Lost()
    for host, port in random.sample(address.hosts, len(address.hosts)):
        try:
            return Session(address, host, port)
        except TROUBLE as error:
            trouble = error
    raise trouble


class Session:
    """To be closed by whoever gets an exception from it: what the server says later belongs to nobody."""

    def __init__(self, address: Address, host: str, port: int) -> None:
        self._address = address
        self._data = b""
        self._tag = 0
        self._socket = socket.create_connection((host, port), HANDSHAKE)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if (context := address.tls_context()) is not None:
                self._socket = context.wrap_socket(self._socket, server_hostname=host)
            self._most = self._shake_hands()
        except BaseException:
            self._socket.close()
            raise

    def publish(self, given: Message, silence: float, patience: float) -> None:
        """Returns when it is confirmed. `silence` is how long the server may say nothing, in seconds;
        `patience`, how long it may take no messages because of an alarm.

        Raises `BrokerUnavailable` when that patience is over, else `TROUBLE`.
        """
        asked, alarm = time.monotonic(), ""
        until = asked + silence
        route, body, properties, mandatory = given
        frames = publication(CHANNEL, route.exchange, route.key, mandatory, properties, body, self._most)
        self._tag += 1
        self._socket.settimeout(silence)
        self._socket.sendall(frames)
        try:
            while not isinstance(found := self._next(), Confirm):
                if not isinstance(found, frame.Heartbeat):  # the server sends them in an alarm, too
                    alarm = self._alarm(found)
                    until = asked + patience if alarm else time.monotonic() + silence
                self._socket.settimeout(max(until - time.monotonic(), 0.001))
        except TimeoutError:
            if alarm:
                raise BrokerUnavailable(blocked(self._address.shown, alarm)) from None
            raise
        if found.tag != self._tag or found.refused:
            raise Lost(f"{found} was not expected")

    def close(self) -> None:
        """Say goodbye, and wait for the answer for a moment."""
        with suppress(*TROUBLE):  # it has ended already
            self._socket.settimeout(GOODBYE)
            self._say(0, spec.Connection.Close(200, "OK", 0, 0))
            self._hear(spec.Connection.CloseOk)
        self._socket.close()

    def cut(self) -> None:
        """End it without a word."""
        self._socket.close()

    @staticmethod
    def _alarm(found: Any) -> str:
        """The server's, of which it told; empty if that is over."""
        if isinstance(found, frame.Method):
            if isinstance(found.method, spec.Connection.Blocked):
                return str(found.method.reason)
            if isinstance(found.method, spec.Connection.Unblocked):
                return ""
        raise Lost(f"{found} was not expected")

    def _shake_hands(self) -> int:
        """Open the connection and a channel; returns the bytes of a body that fit into a frame."""
        address = self._address
        self._socket.sendall(frame.ProtocolHeader().marshal())
        self._hear(spec.Connection.Start)
        secret = f"\0{address.username}\0{address.password}"
        self._say(0, spec.Connection.StartOk(PROPERTIES, "PLAIN", secret, "en_US"))
        limits = self._hear(spec.Connection.Tune)
        self._say(0, spec.Connection.TuneOk(limits.channel_max, limits.frame_max, HEARTBEAT))
        for channel, question, answer in (
            (0, spec.Connection.Open(address.vhost), spec.Connection.OpenOk),
            (CHANNEL, spec.Channel.Open(), spec.Channel.OpenOk),
            (CHANNEL, spec.Confirm.Select(), spec.Confirm.SelectOk),
        ):
            self._say(channel, question)
            self._hear(answer)
        size: int = limits.frame_max or spec.FRAME_MAX_SIZE
        return size - int(spec.FRAME_HEADER_SIZE + spec.FRAME_END_SIZE)

    def _say(self, channel: int, method: Any) -> None:
        self._socket.sendall(frame.Method(channel, method).marshal())

    def _hear(self, wanted: Any) -> Any:
        while isinstance(found := self._next(), frame.Heartbeat):
            pass
        method = getattr(found, "method", None)
        if not isinstance(method, wanted):
            raise Lost(f"{method or found} was not expected")
        return method

    def _next(self) -> Any:
        """The next confirm, or pika's object for another frame."""
        while True:
            try:
                found = read(self._data, 0)
            except Incomplete:
                self._receive()
                continue
            if found is not None:
                self._data = self._data[found.end :]
                return found
            used, other = frame.decode_frame(self._data)
            self._data = self._data[used:]
            return other

    def _receive(self) -> None:
        if not (data := self._socket.recv(PIECE)):
            raise Lost("the server closed the connection")
        self._data += data
