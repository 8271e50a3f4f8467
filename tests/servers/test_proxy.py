"""What a plain client of Redis notices of each fault."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from redis import ConnectionError as Broken
from redis import Redis
from redis import TimeoutError as Slow
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy, redis_server: RedisServer) -> Iterator[Redis]:
    """Connected by way of the proxy; it tries nothing twice, and waits for a second."""
    url, once = proxy.url(redis_server.url), Retry(NoBackoff(), 0)
    with Redis.from_url(url, socket_timeout=1.0, decode_responses=True, retry=once) as client:
        client.set("count", 0)
        yield client


def test_a_cut_connection_is_broken_and_the_next_one_works(proxy: Proxy, client: Redis) -> None:
    once = Retry(NoBackoff(), 0)
    with Redis(port=proxy.port, retry=once, single_connection_client=True) as connection:
        assert connection.ping()
        proxy.cut()
        assert proxy.connections == 0
        with pytest.raises(Broken):
            connection.ping()
    assert client.ping()


def test_refused_connections_leave_the_others_alone(proxy: Proxy, client: Redis) -> None:
    proxy.refuse()
    assert client.incr("count") == 1
    with Redis(port=proxy.port, retry=Retry(NoBackoff(), 0)) as late:
        with pytest.raises(Broken):
            late.ping()
        proxy.accept()
        assert late.ping()


def test_a_lost_reply_means_that_the_work_was_done(proxy: Proxy, client: Redis) -> None:
    proxy.cut_replies(1)
    with pytest.raises(Broken):
        client.incr("count")
    assert proxy.replies_cut == 1
    assert client.get("count") == "1"


def test_only_the_replies_that_are_meant_get_lost(proxy: Proxy, client: Redis) -> None:
    proxy.cut_replies(2, containing=b"INCR")
    for expected in ("1", "2"):
        with pytest.raises(Broken):
            client.incr("count")
        assert client.get("count") == expected
    assert client.incr("count") == 3


def test_a_stalled_network_neither_answers_nor_closes(proxy: Proxy, client: Redis) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(100) == b"+PONG\r\n"
        proxy.stall()
        connection.sendall(b"PING\r\n")
        with pytest.raises(Slow):
            client.ping()
        proxy.resume()
        assert connection.recv(100) == b"+PONG\r\n"


def test_a_delay_holds_every_answer(proxy: Proxy, client: Redis) -> None:
    proxy.delay(0.2)
    began = time.monotonic()
    assert client.ping()
    assert time.monotonic() - began >= 0.4


def test_it_leaves_no_thread_and_no_connection(redis_server: RedisServer) -> None:
    before = threading.active_count()
    with Proxy(redis_server.port) as proxy, Redis(port=proxy.port, retry=Retry(NoBackoff(), 0)) as client:
        assert client.ping()
        assert proxy.connections == 1
        proxy.stall()
    assert threading.active_count() == before
    with pytest.raises(Broken):
        client.ping()


def test_a_server_that_is_away_breaks_the_connection(redis_server: RedisServer) -> None:
    with Proxy(redis_server.port) as proxy, Redis(port=proxy.port, retry=Retry(NoBackoff(), 0)) as client:
        redis_server.kill()
        with pytest.raises(Broken):
            client.ping()
        redis_server.start()
        assert client.ping()
