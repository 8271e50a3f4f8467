"""Each broker that a fault test can run on, from its URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

BROKERS = ("sqlite", "redis", "postgres", "rabbitmq")


def url_of(name: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Of an empty queue on the server that the tests share."""
    if name == "sqlite":
        return f"sqlite:///{folder}/jobs.db"
    if name == "rabbitmq":
        return str(request.getfixturevalue("rabbit_url"))
    apart = folder.name.lower()[-40:].replace("-", "_").strip("_")
    if name == "redis":
        redis: RedisServer = request.getfixturevalue("redis_server")
        return f"{redis.url}?prefix={apart}"
    postgres: PostgresServer = request.getfixturevalue("postgres_server")
    return f"{postgres.url()}?schema=test_{apart}"
