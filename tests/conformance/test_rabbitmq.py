"""The shipped suite over RabbitMQ alone: a transport, which declares what it cannot do."""

from __future__ import annotations

import pytest

from backburner.brokers.rabbitmq.broker import RabbitBroker
from backburner.testing.conformance import *  # noqa: F403 - the suite
from tests.stores import MakeBroker


@pytest.fixture
def make_broker(rabbit_url: str) -> MakeBroker:
    return lambda clock: RabbitBroker(rabbit_url, clock)
