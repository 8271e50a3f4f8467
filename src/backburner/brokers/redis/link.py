"""One connection to a server: the only place that knows redis-py's."""

from __future__ import annotations

import socket
from typing import Any

from hiredis import pack_command
from redis.connection import Connection, SSLConnection
from redis.exceptions import RedisError

_packed: Any = pack_command
"""Its stub takes tuples of one."""


class Link:
    """An open connection. What goes wrong raises the errors of redis-py, or OSError."""

    __slots__ = ("_connection",)

    def __init__(self, host: str, port: int, *, tls: bool, timeout: float, **options: Any) -> None:
        # Without redis-py's pools and retries: they differ from version to version, and hide what was sent.
        connection: Any = (SSLConnection if tls else Connection)(
            host=host,
            port=port,
            protocol=2,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            socket_keepalive=True,
            **options,
        )
        self._connection = connection
        try:
            connection.connect()
        except BaseException:
            connection.disconnect()
            raise

    def ask(self, *command: bytes | str | int | float) -> Any:
        """Send a command, and read its answer."""
        self.send(*command)
        return self._connection.read_response()

    def send(self, *command: bytes | str | int | float) -> None:
        # Packed by redis-py, which looks at each argument first, a thousand jobs would take twice as long.
        self._connection.send_packed_command([_packed(command)], check_health=False)

    def has_more(self) -> bool:
        """Whether something was said that `read` has not read."""
        return bool(self._connection.can_read(timeout=0))

    def is_quiet(self) -> bool:
        """Whether nothing came, not even the end."""
        try:
            return not self.has_more()
        except (RedisError, OSError):
            return False

    def read(self) -> Any:
        return self._connection.read_response()

    @property
    def socket(self) -> socket.socket:
        """To wait for it and for something else at a time."""
        found: socket.socket = self._connection._sock
        return found

    def close(self) -> None:
        """In a forked child the parent's session goes on: redis-py says nothing to the server there."""
        self._connection.disconnect()
