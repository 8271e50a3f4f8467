"""The server's clock is everybody's."""

from __future__ import annotations

import time

import pytest
from redis import Redis

from backburner.brokers.redis.broker import RedisBroker
from tests.brokers.redis.conftest import Connect, add, take
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer


def test_an_attempt_never_ends_before_it_began(redis_server: RedisServer, connect: Connect) -> None:
    with Proxy(redis_server.port) as proxy:
        broker = connect(proxy.url(redis_server.url))
        proxy.delay(0.02)  # the answers about the time are late
        add(broker)
        proxy.delay(0)
        for _ in range(20):
            add(broker)
            [job] = take(broker)
            assert job.started_at is not None
            assert job.started_at <= broker.now()


def test_the_local_clock_does_not_matter(
    broker: RedisBroker, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = add(broker)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    server = client.time()[0]
    assert abs(broker.now() - server) < 60
    assert abs(add(broker).created_at - job.created_at) < 60


def test_a_server_whose_clock_was_set_back_is_believed(broker: RedisBroker) -> None:
    add(broker)
    now = broker.now()
    broker._driver.clock.saw(now - 3600)
    assert broker.now() < now - 1800
    broker._driver.clock.saw(now)
    assert broker.now() >= now
