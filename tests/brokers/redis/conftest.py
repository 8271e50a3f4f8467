"""A broker on keys of its own, and what can be seen of it from outside and from inside."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from redis import Redis

from backburner import lifecycle
from backburner.brokers.base import Beat, Claim, Filter
from backburner.brokers.redis.broker import RedisBroker
from backburner.job import JobRecord, new_id
from tests.servers.redis import RedisServer

Connect = Callable[..., RedisBroker]
PATIENCE = 2.0


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Make brokers on one set of keys, of a URL with these parameters; they are closed at the end."""
    with ExitStack() as stack:
        prefix = uuid.uuid4().hex

        def make(url: str, **parameters: Any) -> RedisBroker:
            given = {"prefix": prefix, "patience": PATIENCE, **parameters}
            query = "&".join(f"{name}={value}" for name, value in given.items())
            return stack.enter_context(closing(RedisBroker(f"{url}{'&' if '?' in url else '?'}{query}")))

        yield make


@pytest.fixture
def broker(redis_server: RedisServer, connect: Connect) -> RedisBroker:
    return connect(redis_server.url)


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Redis]:
    with redis_server.client() as client:
        yield client


def new_job(**fields: Any) -> JobRecord:
    return JobRecord(**{"id": new_id(), "task": "t", **fields})


def add(broker: RedisBroker, **fields: Any) -> JobRecord:
    return broker.run(broker.enqueue([new_job(**fields)], {}))[0]


def take(broker: RedisBroker, limit: int = 1, worker: str = "w") -> list[JobRecord]:
    broker.run(broker.heartbeat([Beat(worker=worker, lease=60, new=True)]))
    return broker.run(broker.exchange([], Claim(worker=worker, queues=("default",), limit=limit))).jobs


def settle(broker: RedisBroker, jobs: list[JobRecord], keep: float = 60) -> list[str]:
    done = [lifecycle.succeeded(job, b"1", broker.now(), keep=keep) for job in jobs]
    return broker.run(broker.exchange(done, None)).lost


def ids(broker: RedisBroker) -> set[str]:
    return {job.id for job in broker.run(broker.find(Filter(limit=10_000)))}


def keys(client: Redis, broker: RedisBroker) -> set[str]:
    """The broker's keys, without its prefix."""
    prefix = broker._driver.address.key + ":"
    return {key.removeprefix(prefix) for key in client.scan_iter(f"{prefix}*", count=1000)}


def commands(client: Redis) -> dict[str, int]:
    """How often each command was called, by clients and by scripts."""
    return {
        name.removeprefix("cmdstat_"): each["calls"] for name, each in client.info("commandstats").items()
    }
