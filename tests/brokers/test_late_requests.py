"""A request that a server carries out later than it was made, because it stood still or was away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from backburner import Backburner
from backburner.brokers.base import Beat, Broker, Operation
from tests.servers.base import wait_until
from tests.servers.fixtures import installed
from tests.stores import URLS

T = TypeVar("T")
LEASE = 0.3


@pytest.fixture(params=URLS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    app = Backburner(installed(partial(URLS[request.param], tmp_path)))
    yield app.broker
    app.close()


def when(ready: Callable[[], None], operation: Operation[T]) -> Operation[T]:
    """The operation, whose first request is held back until then."""
    request = next(operation)
    ready()
    while True:
        try:
            request = operation.send((yield request))
        except StopIteration as stop:
            found: T = stop.value
            return found


def test_a_rescue_ends_no_lease_that_was_good_when_it_was_asked_for(broker: Broker) -> None:
    broker.run(broker.heartbeat([Beat(worker="w1", lease=LEASE, new=True)]))
    end = broker.now() + LEASE
    ready = partial(wait_until, lambda: broker.now() > end, "the lease has run out")
    assert broker.run(when(ready, broker.orphans(10, None))) == []
    assert broker.run(broker.heartbeat([Beat(worker="w1", lease=LEASE)])).lost == []
    end = broker.now() + LEASE
    ready()
    broker.run(broker.orphans(10, None))
    assert broker.run(broker.heartbeat([Beat(worker="w1", lease=LEASE)])).lost == ["w1"]
