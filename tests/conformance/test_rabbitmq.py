"""The shipped suite over RabbitMQ alone: a transport, which declares what it cannot do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from backburner.brokers.rabbitmq.broker import RabbitBroker
from backburner.testing.conformance import *  # noqa: F403 - the suite
from tests.stores import MakeBroker


@pytest.fixture
def make_broker(rabbit_url: str) -> MakeBroker:
    return lambda clock: RabbitBroker(rabbit_url, clock)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """On an event loop only: a blocking call hands the same coroutine to the same thread."""
    with asyncio.Runner() as runner:
        yield runner
