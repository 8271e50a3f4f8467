from __future__ import annotations

import pytest
from redis.cluster import RedisCluster as Client

from tests.servers.cluster import SLOTS, RedisCluster

pytestmark = pytest.mark.xdist_group("redis-cluster")  # one, for one process


def test_three_primaries_share_all_slots(redis_cluster: RedisCluster) -> None:
    for member in redis_cluster.members:
        with member.client() as client:
            info = client.execute_command("CLUSTER INFO")
            assert info["cluster_state"] == "ok"
            assert info["cluster_slots_assigned"] == str(SLOTS)


def test_it_keeps_its_data_when_a_primary_dies(redis_cluster: RedisCluster) -> None:
    keys = [f"key-{number}" for number in range(20)]
    with Client(host="127.0.0.1", port=redis_cluster.members[0].port) as client:
        for key in keys:
            client.set(key, key)
    redis_cluster.members[1].kill()
    redis_cluster.start()
    with Client(host="127.0.0.1", port=redis_cluster.members[0].port, decode_responses=True) as client:
        assert [client.get(key) for key in keys] == keys
