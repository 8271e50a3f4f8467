"""Pytest's way to the shared servers: one of each for every pytest process, which ends with its session.

Where a server is not installed the tests that ask for it are skipped with the command that installs it;
with CI=true they fail.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from tests.servers import shared
from tests.servers.base import Missing
from tests.servers.cluster import RedisCluster
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer
from tests.servers.sentinel import RedisSentinel

S = TypeVar("S")


def installed(start: Callable[[], S]) -> S:
    try:
        return start()
    except Missing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


@pytest.fixture
def redis_server() -> RedisServer:
    return installed(shared.shared_redis)


@pytest.fixture
def redis_cluster() -> RedisCluster:
    return installed(shared.shared_cluster)


@pytest.fixture
def redis_sentinel() -> RedisSentinel:
    return installed(shared.shared_sentinel)


@pytest.fixture
def postgres_server() -> PostgresServer:
    return installed(shared.shared_postgres)


@pytest.fixture
def pgbouncer() -> PgBouncer:
    return installed(shared.shared_pgbouncer)


@pytest.fixture
def rabbit_server() -> RabbitServer:
    return installed(shared.shared_rabbit)


@pytest.fixture
def rabbit_url(rabbit_server: RabbitServer) -> Iterator[str]:
    """A virtual host for one test alone. Hundreds of them would make every start of the node slow."""
    name = f"test-{secrets.token_hex(4)}"
    yield rabbit_server.vhost(name)
    shared.shared_rabbit().drop_vhost(name)  # which a test may have left without its server


def pytest_sessionfinish() -> None:
    shared.stop_shared()
