"""The servers that all tests of this process share: started when first asked for, stopped when it ends.

Pytest asks through the fixtures of the same names; the state machine and the benchmark ask here. A test that
stopped, killed or froze a shared server leaves the next caller a running one all the same.
"""

from __future__ import annotations

import atexit
import os
from typing import Protocol, TypeVar

import psutil

from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer


class Shareable(Protocol):
    def start(self) -> object: ...
    def thaw(self) -> None: ...
    def close(self) -> None: ...
    def family(self) -> list[psutil.Process]: ...


S = TypeVar("S", bound=Shareable)
_servers: dict[type[Shareable], Shareable] = {}


def shared_redis() -> RedisServer:
    return _shared(RedisServer)


def shared_postgres() -> PostgresServer:
    return _shared(PostgresServer)


def shared_processes() -> set[psutil.Process]:
    """Theirs, which are allowed to outlive a test."""
    return {process for server in _servers.values() for process in server.family()}


def stop_shared() -> None:
    while _servers:
        _servers.popitem()[1].close()


def _shared(kind: type[S]) -> S:
    server = _servers.get(kind)
    if not isinstance(server, kind):
        server = _servers[kind] = kind()
    server.thaw()
    server.start()
    return server


@atexit.register
def _stop_at_exit(owner: int = os.getpid()) -> None:
    if os.getpid() == owner:  # a forked child has the same list, and not the same right
        stop_shared()
