"""The brokers of a run: a server of its own, as durable as its page recommends, and a network that can fail.

Workers and producers reach it by the proxies, the run itself directly.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

import msgspec
import psycopg

from backburner import Backburner, State
from backburner.brokers.base import Capability, Filter
from backburner.job import JobRecord
from chaos.observe import Observer
from chaos.tasks import make_app
from tests.faults.harness import stored, unfinished
from tests.faults.rabbitmq import messages
from tests.oracle import Effect
from tests.servers.base import Server
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

EFFECTS = "CREATE TABLE effects (job text, token int)"
QUEUE = "default"
KEPT = (f"backburner.dead.{QUEUE}", "backburner.schedules")
"""Queues of RabbitMQ that hold no job that waits."""
RECOMMENDED = "{dead_letter_worker_publisher_confirm_timeout, 5000}"
"""Of RabbitMQ: what docs/brokers/rabbitmq.md recommends for delayed jobs."""


class Way(msgspec.Struct, frozen=True):
    """How to reach the broker."""

    url: str
    results: str | None = None


class Site:
    """One broker. `servers` may be killed, `proxies` may fail; on SQLite there are neither."""

    def __init__(self, name: str, settings: str, servers: list[Server], proxies: list[Proxy]) -> None:
        self.name, self.settings, self.servers, self.proxies = name, settings, servers, proxies
        self.through = self.direct = Way("")
        self.database: str | None = None
        """The URL for transactions of the tasks' own."""

    def app(self, observer: Observer) -> Backburner:
        return make_app(self.direct.url, self.direct.results, observer)

    @property
    def file(self) -> Path:
        """The database of SQLite."""
        return Path(self.direct.url.removeprefix("sqlite:///"))

    def prepare(self, app: Backburner) -> None:
        """Before anything else is done: the tables are there."""
        if Capability.LOOKUP in app.broker.capabilities:
            app.broker.run(app.broker.queues())
        if self.database and self.database.startswith("sqlite"):
            with closing(sqlite3.connect(self.file, timeout=30.0)) as lite:
                lite.execute(EFFECTS)
        elif self.database:
            with psycopg.connect(self.database) as connection:
                connection.execute(EFFECTS)

    def settle(self) -> None:
        """Once all queues are there: RabbitMQ writes down a second later that they are."""
        for server in self.servers:
            if isinstance(server, RabbitServer):
                server.sync()

    def effects(self) -> Iterator[Effect]:
        if self.database and self.database.startswith("sqlite"):
            with closing(sqlite3.connect(self.file, timeout=30.0)) as lite:
                rows = lite.execute("SELECT job, token FROM effects").fetchall()
        elif self.database:
            with psycopg.connect(self.database) as connection:
                rows = connection.execute("SELECT job, token FROM effects").fetchall()
        else:
            rows = []
        return (Effect(job, token) for job, token in rows)

    def backlog(self, app: Backburner) -> int:
        """Jobs that are not final, wherever they are."""
        if Capability.LOOKUP in app.broker.capabilities:
            return unfinished(app)
        return sum(
            count
            for server in self.servers
            if isinstance(server, RabbitServer)
            for name, count in messages(server).items()
            if name not in KEPT
        )

    def stored(self, app: Backburner) -> dict[str, JobRecord] | None:
        if Capability.LOOKUP not in app.broker.capabilities:
            return None
        return {job.id: job for job in stored(app)}

    def dead(self, app: Backburner) -> list[JobRecord]:
        return app.broker.run(app.broker.find(Filter(states=(State.DEAD,), queue=QUEUE, limit=100_000)))


@contextmanager
def sqlite(folder: Path) -> Iterator[Site]:
    site = Site("sqlite", "one file, full sync at each commit", [], [])
    site.direct = site.through = Way(f"sqlite:///{folder}/jobs.db")
    site.database = site.direct.url
    yield site


@contextmanager
def redis(_: Path) -> Iterator[Site]:
    with RedisServer() as server, Proxy(server.port) as proxy:
        site = Site("redis", "one server, appendfsync always", [server], [proxy])
        site.direct, site.through = Way(server.url), Way(proxy.url(server.url))
        yield site


@contextmanager
def postgres(_: Path) -> Iterator[Site]:
    with PostgresServer() as server, Proxy(server.port) as proxy:
        site = Site("postgres", "one server, fsync and synchronous_commit on", [server], [proxy])
        site.direct, site.through = Way(server.url()), Way(proxy.url(server.url()))
        site.database = site.direct.url
        yield site


@contextmanager
def rabbitmq(_: Path) -> Iterator[Site]:
    with RabbitServer(advanced=RECOMMENDED) as server, Proxy(server.port) as proxy:
        site = Site("rabbitmq", "one node, quorum queues", [server], [proxy])
        site.direct, site.through = Way(server.url), Way(proxy.url(server.url))
        yield site


@contextmanager
def rabbitmq_redis(_: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        rabbit, store = (
            stack.enter_context(RabbitServer(advanced=RECOMMENDED)),
            stack.enter_context(RedisServer()),
        )
        one, two = stack.enter_context(Proxy(rabbit.port)), stack.enter_context(Proxy(store.port))
        settings = "one node, quorum queues; results in one Redis, appendfsync always"
        site = Site("rabbitmq+redis", settings, [rabbit, store], [one, two])
        site.direct = Way(rabbit.url, store.url)
        site.through = Way(one.url(rabbit.url), two.url(store.url))
        yield site


SITES: dict[str, Callable[[Path], AbstractContextManager[Site]]] = {
    "sqlite": sqlite,
    "redis": redis,
    "postgres": postgres,
    "rabbitmq": rabbitmq,
    "rabbitmq+redis": rabbitmq_redis,
}
