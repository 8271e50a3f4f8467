"""The shipped suite over RabbitMQ with each of the other brokers as its results store."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from backburner.brokers.rabbitmq.results import RabbitWithResults
from backburner.testing.conformance import *  # noqa: F403 - the suite
from tests.servers.rabbitmq import RabbitServer
from tests.stores import STORES, MakeBroker

SERVERS = {"redis": "redis_server", "postgres": "postgres_server", "sqlite-file": "tmp_path"}


@pytest.fixture(params=SERVERS)
def make_broker(
    request: pytest.FixtureRequest, rabbit_server: RabbitServer, tmp_path: Path
) -> Iterator[MakeBroker]:
    request.getfixturevalue(SERVERS[request.param])
    store, url = STORES[request.param](tmp_path), rabbit_server.url
    yield lambda clock: RabbitWithResults(url, store(clock))
    # One topology for all tests, emptied for each: to make it takes longer than most tests.
    rabbit_server.purge()


@pytest.fixture
def runner(make_broker: MakeBroker, request: pytest.FixtureRequest) -> Iterator[asyncio.Runner | None]:
    """Blocking calls with one store, an event loop with the others: each store has both in its own suite."""
    if request.node.callspec.params["make_broker"] == "sqlite-file":
        yield None
    else:
        with asyncio.Runner() as runner:
            yield runner
