"""The brokers of a run, each behind a proxy: how it is reached and killed, and what is left in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.servers.base import Server
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

PATIENT = "{dead_letter_worker_publisher_confirm_timeout, 5000}"
"""Milliseconds until RabbitMQ passes a delayed job on once more: what docs/brokers/rabbitmq.md recommends."""
NAMES = ("sqlite", "redis", "postgres", "rabbitmq", "rabbitmq+redis")


class Target(NamedTuple):
    """One broker of a run."""

    url: str
    results: str = ""
    database: str = ""
    """The queue's own database, past the proxy; empty where nothing completes in a transaction."""
    servers: tuple[Server, ...] = ()
    proxies: tuple[Proxy, ...] = ()
    messages: Callable[[], dict[str, int]] | None = None
    """How many jobs are in which of its queues, where it cannot be asked by id."""
    settle: Callable[[], None] = lambda: None
    """Called once all queues are there."""


@contextmanager
def target(name: str, folder: Path) -> Iterator[Target]:
    with ExitStack() as stack:
        if name == "sqlite":
            url = f"sqlite:///{folder}/jobs.db"
            yield Target(url, database=url)
        elif name == "redis":
            url, server, proxy = _redis(stack, folder)
            yield Target(url, servers=(server,), proxies=(proxy,))
        elif name == "postgres":
            postgres = stack.enter_context(PostgresServer(folder / "postgres"))
            proxy = stack.enter_context(Proxy(postgres.port))
            yield Target(
                proxy.url(postgres.url()),
                database=postgres.url(),
                servers=(postgres,),
                proxies=(proxy,),
            )
        else:
            rabbit = stack.enter_context(RabbitServer(folder / "rabbitmq", advanced=PATIENT))
            proxy = stack.enter_context(Proxy(rabbit.port))
            found = Target(proxy.url(rabbit.url), servers=(rabbit,), proxies=(proxy,), settle=rabbit.sync)
            if name == "rabbitmq":
                yield found._replace(messages=lambda: _messages(rabbit))
            else:
                results, server, other = _redis(stack, folder)
                yield found._replace(results=results, servers=(rabbit, server), proxies=(proxy, other))


def _redis(stack: ExitStack, folder: Path) -> tuple[str, RedisServer, Proxy]:
    server = stack.enter_context(RedisServer(folder / "redis"))
    proxy = stack.enter_context(Proxy(server.port))
    return proxy.url(server.url), server, proxy


def _messages(server: RabbitServer) -> dict[str, int]:
    """Of jobs that are not dead; the periodic tasks' are always there."""
    found = server.messages().items()
    return {name: n for name, n in found if n and not re.search(r"\.(dead|schedules)\b", name)}
