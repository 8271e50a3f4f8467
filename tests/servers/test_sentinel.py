from __future__ import annotations

import pytest

from tests.servers.base import wait_until
from tests.servers.sentinel import RedisSentinel

pytestmark = pytest.mark.xdist_group("redis-sentinel")  # one, for one process


@pytest.mark.parametrize("time", ["first", "second"])
def test_another_becomes_primary_and_has_the_data(redis_sentinel: RedisSentinel, time: str) -> None:
    old = redis_sentinel.primary
    with old.client() as client:
        client.set("word", time)
        assert client.wait(1, 5000) == 1
    redis_sentinel.kill_primary()
    wait_until(lambda: redis_sentinel.primary is not old, "the sentinel names another primary")
    with redis_sentinel.primary.client() as client:
        assert client.get("word") == time
        client.set("word", "new")
    redis_sentinel.start()
    with old.client() as client:
        assert client.role()[0] == "slave"
        wait_until(lambda: client.get("word") == "new", "the old primary follows the new one")


def test_it_knows_its_primary_after_all_were_stopped(redis_sentinel: RedisSentinel) -> None:
    primary = redis_sentinel.primary
    with primary.client() as client:
        client.set("word", "kept")
    redis_sentinel.stop()
    redis_sentinel.start()
    assert redis_sentinel.primary is primary
    with primary.client() as client:
        assert client.get("word") == "kept"
