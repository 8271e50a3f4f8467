"""A real broker for each measurement: a fresh name space on a server of the run's own.

1. SQLite is a new file, and Redis a new server, whose append-only file is empty then.
2. PostgreSQL and RabbitMQ take seconds to start, and are started once a run: each measurement gets a new
   database, after a checkpoint, or a new virtual host.
"""

from __future__ import annotations

import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Self

import psutil
import psycopg
from redis import Redis

from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

SETTINGS = {
    "sqlite": "a file on the machine's disk; write-ahead log, full sync",
    "redis": "one server; appendonly yes, appendfsync always",
    "postgres": "one server at its defaults: each commit is on disk",
    "rabbitmq": "one node with two schedulers; queues are durable, messages persistent",
}


TRANSACTIONS = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"


class Place:
    """Where the jobs of one measurement are, and what the broker says of itself."""

    def __init__(self, url: str, server: RedisServer | PostgresServer | RabbitServer | None = None) -> None:
        self.url, self.server = url, server
        self._redis: Redis | None = None
        self._asked = 0

    def processes(self) -> list[psutil.Process]:
        """None of SQLite, which runs in its clients."""
        return self.server.family() if self.server else []

    def close(self) -> None:
        if self._redis:
            self._redis.close()

    def commands(self) -> float | None:
        """Commands (Redis) or transactions (PostgreSQL) that it has run; None if it does not count."""
        if isinstance(self.server, RedisServer):
            self._redis = self._redis or self.server.client()  # once: to connect takes commands, too
            self._asked += 1
            return float(self._redis.info("stats")["total_commands_processed"]) - self._asked
        if isinstance(self.server, PostgresServer):
            with psycopg.connect(self.server.url(), autocommit=True) as connection:
                [count] = connection.execute(TRANSACTIONS, [self.url.rpartition("/")[2]]).fetchone() or [0]
                return float(count)
        return None


class Places:
    """The servers of one run; a context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._postgres: PostgresServer | None = None
        self._rabbit: RabbitServer | None = None
        self.settings: dict[str, str] = {}
        """Of the brokers that were asked for: version, and how it is set."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def fresh(self, broker: str) -> Iterator[Place]:
        """An empty one."""
        name = f"bench_{uuid.uuid4().hex}"
        if broker == "sqlite":
            self._note(broker, f"SQLite {sqlite3.sqlite_version}")
            with tempfile.TemporaryDirectory(prefix="backburner-bench-") as folder:
                yield Place(f"sqlite:///{Path(folder) / 'jobs.db'}")
        elif broker == "redis":
            with RedisServer() as redis:
                with redis.client() as client:
                    self._note(broker, f"Redis {client.info('server')['redis_version']}")
                with closing(Place(redis.url, redis)) as place:
                    yield place
        elif broker == "postgres":
            postgres = self._postgres = self._postgres or self._stack.enter_context(PostgresServer())
            self._note(broker, postgres.execute("SELECT version()").partition(" on ")[0])
            postgres.execute(f"CREATE DATABASE {name}")
            postgres.execute("CHECKPOINT")
            yield Place(postgres.url(name), postgres)
            postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
        else:
            rabbit = self._rabbit = self._rabbit or self._stack.enter_context(RabbitServer())
            version = rabbit.evaluate("rabbit_misc:version()").strip('"')
            self._note(broker, f"RabbitMQ {version}")
            yield Place(rabbit.vhost(name), rabbit)
            rabbit.drop_vhost(name)

    def _note(self, broker: str, version: str) -> None:
        self.settings[broker] = f"{version}; {SETTINGS[broker]}"
