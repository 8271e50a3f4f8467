"""A RabbitMQ with a results store beside it, as the tests look at the two."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from urllib.parse import urlsplit

import psycopg
from redis import Redis

from backburner.brokers import connect
from backburner.brokers.rabbitmq.results import RabbitWithResults
from backburner.testing import Clock
from backburner.testing.conformance.kit import Store
from tests.servers.rabbitmq import RabbitServer

CLASSIC = "?queues=classic"
"""They are made in no time, and they are the same to a store."""


def wait_until(true: Callable[[], bool], what: str, patience: float = 40.0) -> None:
    end = time.monotonic() + patience
    while not true():
        assert time.monotonic() < end, f"not within {patience:g} s: {what}"
        time.sleep(0.02)


class Beside:
    """RabbitMQ at `url`, and the store at `results`. Each process is a broker object."""

    def __init__(self, server: RabbitServer, url: str, results: str) -> None:
        self.server = server
        self.url = url + CLASSIC
        self.results = results
        self._made: list[RabbitWithResults] = []

    def process(self, url: str | None = None) -> Store:
        """Another process, on the real clock."""
        broker = RabbitWithResults(url or self.url, connect(self.results))
        self._made.append(broker)
        return Store(broker, Now(), None)

    def copies(self) -> int:
        """Messages in RabbitMQ, waiting or in somebody's hand."""
        vhost = f'<<"{urlsplit(self.url).path[1:]}">>'
        count = self.server.evaluate(
            "lists:sum([Count || Queue <- rabbit_amqqueue:list("
            f"{vhost}), [{{messages, Count}}] <- [rabbit_amqqueue:info(Queue, [messages])]])"
        )
        return int(count)

    def use_up(self, *processes: Store, left: int = 0) -> None:
        """Let them do the duties of a node until so many copies are left."""

        def done() -> bool:
            for process in processes:
                process.stage()
            return self.copies() == left

        wait_until(done, f"{left} copies left, of which there are {self.copies()}")

    def empty(self) -> None:
        """The store loses all that it has."""
        if self.results.startswith("redis"):
            server, _, prefix = self.results.partition("?prefix=")
            with Redis.from_url(server) as client:
                client.delete(*client.scan_iter(f"{{{prefix}}}*"))
        elif self.results.startswith("sqlite"):
            with closing(sqlite3.connect(self.results.removeprefix("sqlite:///"))) as file, file:
                found = file.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
                for (table,) in found:
                    if table != "backburner_schema":
                        file.execute(f"DELETE FROM {table}")
        else:
            server, _, schema = self.results.partition("?schema=")
            with psycopg.connect(server, autocommit=True) as connection:
                tables = connection.execute(
                    "SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename <> 'migrations'",
                    [schema],
                ).fetchall()
                for (table,) in tables:
                    connection.execute(f"DELETE FROM {schema}.{table}".encode())

    def close(self) -> None:
        for broker in self._made:
            broker.close()


class Now(Clock):
    """The real time, which no test moves."""

    def __call__(self) -> float:
        return time.time()
