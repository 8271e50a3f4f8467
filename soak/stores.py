"""The brokers of a soak run: a server of its own, and what can be seen in it from outside.

RabbitMQ has a Redis beside it, which keeps what became of the jobs: only so can they be awaited and revived.
"""

from __future__ import annotations

import re
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from soak.verdict import Series
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

MB = 1e6
Values = dict[Series, float]


class Store(ABC):
    """A broker: its URL, that of its results, and its state. `whose` is its name in the series."""

    whose: str
    url: str
    results: str | None = None

    @abstractmethod
    def state(self) -> dict[str, float]: ...

    def measure(self) -> Values:
        return {Series(self.whose, what): value for what, value in self.state().items()}

    def close(self) -> None:  # noqa: B027 - some look without a connection
        """Let go of the connection by which it looks."""


class Sqlite(Store):
    whose = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "jobs.db"
        self.url = f"sqlite:///{self.path}"

    def state(self) -> dict[str, float]:
        with closing(sqlite3.connect(self.path)) as connection:
            page, pages, free = (
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_size", "page_count", "freelist_count")
            )
        log = self.path.with_name("jobs.db-wal")
        return {
            "size": page * (pages - free) / MB,
            "file": self.path.stat().st_size / MB,
            "free pages": free,
            "log": log.stat().st_size / MB if log.exists() else 0.0,
        }


class Redis(Store):
    whose = "redis"

    def __init__(self, server: RedisServer) -> None:
        self.url = server.url
        self.client = server.client()

    def state(self) -> dict[str, float]:
        memory: Any = self.client.info("memory")
        clients: Any = self.client.info("clients")
        keys: Any = self.client.dbsize()
        return {
            "keys": float(keys),
            "size": memory["used_memory"] / MB,
            "connections": float(clients["connected_clients"]),
        }

    def close(self) -> None:
        self.client.close()


class Postgres(Store):
    whose = "postgres"
    TABLES = """
        SELECT coalesce(sum(n_dead_tup), 0)::float8, coalesce(sum(n_live_tup), 0)::float8,
            coalesce(sum(pg_table_size(relid)), 0)::float8, coalesce(sum(pg_indexes_size(relid)), 0)::float8,
            (SELECT count(*)::float8 FROM pg_stat_activity WHERE backend_type = 'client backend')
        FROM pg_stat_user_tables
    """

    def __init__(self, server: PostgresServer) -> None:
        self.url = server.url()
        self._connection = psycopg.connect(self.url, autocommit=True)

    def state(self) -> dict[str, float]:
        found = self._connection.execute(self.TABLES).fetchone()
        assert found is not None
        dead, live, tables, indexes, connections = found
        return {
            "rows": live,
            "dead tuples": dead,
            "size": (tables + indexes) / MB,
            "indexes": indexes / MB,
            "connections": connections,
        }

    def close(self) -> None:
        self._connection.close()


class Rabbit(Store):
    whose = "rabbitmq"
    COUNTS = """
        Queues = rabbit_amqqueue:list(),
        Infos = [rabbit_amqqueue:info(Queue, [messages]) || Queue <- Queues],
        Messages = lists:sum([proplists:get_value(messages, Info) || Info <- Infos]),
        {length(Queues), Messages, length(rabbit_networking:connections()), length(rabbit_channel:list())}
    """

    def __init__(self, server: RabbitServer, beside: Redis) -> None:
        self.url, self.results = server.url, beside.url
        self._server, self._beside = server, beside

    def state(self) -> dict[str, float]:
        counts = re.findall(r"\d+", self._server.evaluate(self.COUNTS.strip()))
        queues, messages, connections, channels = map(float, counts)
        return {
            "queues": queues,
            "messages": messages,
            "connections": connections,
            "channels": channels,
        }

    def measure(self) -> Values:
        return {**super().measure(), **self._beside.measure()}

    def close(self) -> None:
        self._beside.close()


BROKERS = ("sqlite", "redis", "postgres", "rabbitmq")


@contextmanager
def running(broker: str, folder: Path) -> Iterator[Store]:
    """A broker of the run's own; PostgreSQL vacuums often, so that minutes show what hours would."""
    with ExitStack() as stack:
        store: Store
        if broker == "sqlite":
            store = Sqlite(folder)
        elif broker == "redis":
            store = Redis(stack.enter_context(RedisServer()))
        elif broker == "postgres":
            store = Postgres(stack.enter_context(PostgresServer(autovacuum_naptime="15s")))
        else:
            redis = Redis(stack.enter_context(RedisServer()))
            store = Rabbit(stack.enter_context(RabbitServer()), redis)
        stack.callback(store.close)
        yield store
