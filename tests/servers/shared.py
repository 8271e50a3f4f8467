"""The servers that all tests of this process share: started when first asked for, stopped when it ends.

Pytest asks through the fixtures of the same names; the state machine and the benchmark ask here. A test that
stopped, killed or froze a shared server leaves the next caller a running one all the same.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

import psutil

from tests.servers.base import Group, Server
from tests.servers.cluster import RedisCluster
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer
from tests.servers.sentinel import RedisSentinel

S = TypeVar("S", bound=Server | Group)
_servers: dict[object, Server | Group] = {}


def shared_redis() -> RedisServer:
    return _shared(RedisServer)


def shared_postgres() -> PostgresServer:
    return _shared(PostgresServer)


def shared_cluster() -> RedisCluster:
    return _shared(RedisCluster)


def shared_sentinel() -> RedisSentinel:
    return _shared(RedisSentinel)


def shared_pgbouncer() -> PgBouncer:
    """In front of the shared PostgreSQL, which runs then too."""
    return _shared(PgBouncer, lambda: PgBouncer(None, shared_postgres()))


def shared_rabbit() -> RabbitServer:
    return _shared(RabbitServer)


def shared_processes() -> set[psutil.Process]:
    """Theirs, which are allowed to outlive a test."""
    return {process for server in _servers.values() for process in server.processes()}


def stop_shared() -> None:
    with ExitStack() as all_of_them:
        while _servers:
            all_of_them.callback(_servers.pop(next(iter(_servers))).close)


def _shared(kind: type[S], make: Callable[[], S] | None = None) -> S:
    server = _servers.get(kind)
    if not isinstance(server, kind):
        server = _servers[kind] = (make or kind)()
    server.thaw()
    server.start()
    return server


@atexit.register
def _stop_at_exit(owner: int = os.getpid()) -> None:
    if os.getpid() == owner:  # a forked child has the same list, and not the same right
        stop_shared()
