from __future__ import annotations

from pathlib import Path

import pytest
from redis import AuthenticationError, OutOfMemoryError, Redis
from redis import ConnectionError as Broken
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.redis import RedisServer


def test_data_survives_a_kill(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        with server.client() as client:
            client.set("word", "kept")
        pid, url = server.pid, server.url
        server.kill()
        server.start()
        assert server.url == url
        assert server.pid != pid
        with server.client() as client:
            assert client.get("word") == "kept"


def test_it_is_as_durable_as_promised(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        assert client.config_get("append*")["appendonly"] == "yes"
        assert client.config_get("append*")["appendfsync"] == "always"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_a_password_is_asked_for(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path, password="secret") as server,
        server.client() as knows,
        Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as stranger,
    ):
        assert knows.ping()
        with pytest.raises(AuthenticationError):
            stranger.ping()


def test_tls_is_spoken_by_who_trusts_its_certificate(tmp_path: Path) -> None:
    with RedisServer(tmp_path, tls=True) as server, server.client() as knows:
        assert server.url.startswith("rediss://")
        assert knows.ping()
        once = Retry(NoBackoff(), 0)
        with (
            Redis(port=server.port, ssl=True, retry=once) as stranger,
            pytest.raises(Broken, match="certificate"),
        ):
            stranger.ping()


def test_its_options_can_be_chosen(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path, "--maxmemory", "10kb") as server,
        server.client() as client,
        pytest.raises(OutOfMemoryError),
    ):
        client.set("word", "too much")
