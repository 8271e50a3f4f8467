"""A server that says nothing: the way to it swallows everything, and no connection ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backburner.errors import BrokerUnavailable
from tests.brokers.rabbitmq.conftest import Connect
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitServer


@pytest.fixture
def proxy(rabbit_server: RabbitServer) -> Iterator[Proxy]:
    with Proxy(rabbit_server.port) as proxy:
        yield proxy


def test_a_subscription_that_was_given_up_is_made_on_a_new_connection(
    connect: Connect, rabbit_url: str, proxy: Proxy
) -> None:
    far = connect(url=proxy.url(rabbit_url), options="?patience=1")
    far.add()
    far.next()
    proxy.stall()
    with pytest.raises(BrokerUnavailable):
        far.claim(50)  # which wants more to be delivered than before
    proxy.resume()
    [job] = connect().add()
    assert job.id in {far.next().id, far.next().id}, "beside the first one, which came back"


def test_who_enqueues_leaves_a_connection_that_swallows_everything(
    connect: Connect, rabbit_url: str, proxy: Proxy
) -> None:
    """It does not wait for the heartbeat, which takes minutes."""
    far = connect(url=proxy.url(rabbit_url), options="?patience=20")
    far.add()
    proxy.strand()
    far.add()
    assert proxy.connections == 2, "the one that is stranded, and a new one"
