"""One connection to a server: RESP 2, written and read by hiredis (https://redis.io/docs/reference/protocol-spec).

Without redis-py (decision 53): that is a larger program than this package, and each process that imports it
pays for that. Its pools and its retries were never used: the driver knows what may be sent again.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from ssl import SSLContext, SSLWantReadError, SSLWantWriteError
from typing import Any

from hiredis import Reader, ReplyError, pack_command

packed: Any = pack_command
"""A command as it is sent; the stub of hiredis takes tuples of one."""
PIECE = 1 << 16
"""Bytes that are read at a time."""


class Link:
    """An open connection. What goes wrong raises a `HiredisError`, if the server answered, or `OSError`.

    `timeout` is for its opening, and for each answer, in seconds.
    """

    __slots__ = ("_owner", "_reader", "_timeout", "socket")

    def __init__(self, host: str, port: int, *, timeout: float, tls: SSLContext | None = None) -> None:
        self._owner = os.getpid()
        self._reader = Reader()
        self._timeout = timeout
        try:
            self.socket = _connected(host, port, timeout)
        except OSError as error:
            raise ConnectionError(f"{host}:{port}: {error}") from error
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if tls is not None:
                self.socket = tls.wrap_socket(self.socket, server_hostname=host)
        except BaseException:
            self.close()
            raise

    def ask(self, *command: bytes | str | int | float) -> Any:
        """Send a command, and read its answer."""
        self.send(*command)
        return self.read()

    def send(self, *command: bytes | str | int | float) -> None:
        self.socket.sendall(packed(command))

    def read(self) -> Any:
        while (answer := self._reader.gets()) is False:  # there is no such value in RESP 2
            self._feed()
        if isinstance(answer, ReplyError):
            raise answer
        return answer

    def unblock(self) -> None:
        """From now on `send_now` and `read_now` are to be used: for an event loop, which cannot wait."""
        self.socket.settimeout(0.0)

    def send_now(self, data: memoryview) -> memoryview:
        """What of it, from `packed`, could not be sent without waiting."""
        try:
            return data[self.socket.send(data) :]
        except (BlockingIOError, SSLWantWriteError):
            return data

    def read_now(self) -> Any:
        """An answer, also one that is an error; False while it has not all come."""
        while (answer := self._reader.gets()) is False:
            try:
                self._feed()
            except (BlockingIOError, SSLWantReadError):
                return False
        return answer

    def has_more(self) -> bool:
        """Whether something was said that `read` has not read."""
        if not self._reader.has_data():
            self.socket.settimeout(0.0)
            try:
                self._feed()
            except (BlockingIOError, SSLWantReadError):
                return False
            finally:
                self.socket.settimeout(self._timeout)
        return True

    def is_quiet(self) -> bool:
        """Whether nothing came, not even the end."""
        try:
            return not self.has_more()
        except OSError:
            return False

    def close(self) -> None:
        """A forked child leaves the session to its parent."""
        with suppress(OSError):  # it ended already
            if os.getpid() == self._owner:
                self.socket.shutdown(socket.SHUT_RDWR)  # also where a program that was started has it
        self.socket.close()

    def _feed(self) -> None:
        if not (data := self.socket.recv(PIECE)):
            raise ConnectionError("the server closed the connection")
        self._reader.feed(data)


def _connected(host: str, port: int, timeout: float) -> socket.socket:
    """As `socket.create_connection`, which leaves one open when an exception is thrown into its thread."""
    failure = OSError("no address")
    for family, kind, protocol, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(timeout)
            made.connect(place)
        except OSError as error:
            made.close()
            failure = error
        except BaseException:
            made.close()
            raise
        else:
            return made
    raise failure
