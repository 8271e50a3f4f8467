"""Every broker that the suites run over: a name, and what makes brokers on one fresh store in a folder."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from backburner.brokers.base import Broker
from backburner.brokers.redis.broker import RedisBroker
from backburner.brokers.sqlite.broker import SqliteBroker
from backburner.testing import Clock
from tests.servers.shared import shared_redis

MakeBroker = Callable[[Clock], Broker]


def sqlite_file(folder: Path) -> MakeBroker:
    return lambda clock: SqliteBroker(f"sqlite:///{folder}/jobs.db", clock)


def sqlite_memory(folder: Path) -> MakeBroker:
    """One object for all: a database in memory belongs to the process, and to the object, that made it."""
    made: list[Broker] = []

    def make(clock: Clock) -> Broker:
        made.extend([SqliteBroker("sqlite://", clock)] if not made else [])
        return made[0]

    return make


def redis(_: Path) -> MakeBroker:
    """Keys of its own on the shared server."""
    url = f"{shared_redis().url}?prefix={uuid.uuid4().hex}"
    return lambda clock: RedisBroker(url, clock)


STORES: dict[str, Callable[[Path], MakeBroker]] = {
    "sqlite-file": sqlite_file,
    "sqlite-memory": sqlite_memory,
    "redis": redis,
}
