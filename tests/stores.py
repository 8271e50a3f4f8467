"""Every broker that the suites run over: a name, and a fresh store for it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import psycopg

from backburner.brokers.base import Broker
from backburner.brokers.postgres.broker import PostgresBroker
from backburner.brokers.rabbitmq.results import RabbitWithResults
from backburner.brokers.redis.broker import RedisBroker
from backburner.brokers.sqlite.broker import SqliteBroker
from backburner.testing import Clock
from tests.servers.shared import shared_postgres, shared_rabbit, shared_redis

MakeBroker = Callable[[Clock], Broker]


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder}/jobs.db"


def redis_url(_: Path) -> str:
    """Keys of its own on the shared server."""
    return f"{shared_redis().url}?prefix={uuid.uuid4().hex}"


def postgres_url(_: Path) -> str:
    """One schema for all tests of this process, emptied for each: to make it takes longer than most tests."""
    server = shared_postgres().url()
    with psycopg.connect(server, autocommit=True) as connection:
        found = connection.execute(
            "SELECT format('DELETE FROM %I.%I', schemaname, tablename) FROM pg_tables "
            "WHERE schemaname = 'store' AND tablename NOT LIKE 'finished_%' AND tablename <> 'migrations'"
        ).fetchall()
        connection.execute("; ".join(row[0] for row in found).encode())
    return f"{server}?schema=store"


URLS: dict[str, Callable[[Path], str]] = {
    "sqlite": sqlite_url,
    "redis": redis_url,
    "postgres": postgres_url,
}
"""The URL of a store that is empty, in a folder or on a server that runs."""


def sqlite_file(folder: Path) -> MakeBroker:
    url = sqlite_url(folder)
    return lambda clock: SqliteBroker(url, clock)


def sqlite_memory(folder: Path) -> MakeBroker:
    """One object for all: a database in memory belongs to the process, and to the object, that made it."""
    made: list[Broker] = []

    def make(clock: Clock) -> Broker:
        made.extend([SqliteBroker("sqlite://", clock)] if not made else [])
        return made[0]

    return make


def redis(folder: Path) -> MakeBroker:
    url = redis_url(folder)
    return lambda clock: RedisBroker(url, clock)


def postgres(folder: Path) -> MakeBroker:
    url = postgres_url(folder)
    return lambda clock: PostgresBroker(url, clock)


def rabbitmq(folder: Path) -> MakeBroker:
    """RabbitMQ with a file beside it; its queues, which are made once for all, are emptied."""
    server, store = shared_rabbit(), sqlite_file(folder)
    server.purge()
    return lambda clock: RabbitWithResults(server.url, store(clock))


STORES: dict[str, Callable[[Path], MakeBroker]] = {
    "sqlite-file": sqlite_file,
    "sqlite-memory": sqlite_memory,
    "redis": redis,
    "postgres": postgres,
    "rabbitmq": rabbitmq,
}
"""What makes brokers on one fresh store."""
