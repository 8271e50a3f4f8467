"""A Cluster and Sentinels: the same promises, found behind other doors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from backburner.brokers.base import Waiter
from backburner.brokers.redis.broker import RedisBroker
from backburner.errors import BrokerUnavailable, ConfigError
from tests.brokers.redis.conftest import Connect, add, ids, settle, take
from tests.servers.cluster import RedisCluster
from tests.servers.redis import RedisServer
from tests.servers.sentinel import RedisSentinel

PATIENCE = 40.0
SHARE = 16384 // 3 + 1
"""Slots of one node."""


def woken(waiter: Waiter) -> bool:
    return any(waiter.wait(1) for _ in range(30))


@pytest.fixture(params=["cluster", "sentinel"])
def make(request: pytest.FixtureRequest, connect: Connect) -> Callable[[], RedisBroker]:
    server = request.getfixturevalue(f"redis_{request.param}")
    return lambda: connect(server.url, patience=PATIENCE)


def test_a_job_lives_there_as_anywhere(make: Callable[[], RedisBroker]) -> None:
    broker, other = make(), make()
    jobs = [add(broker, queue="default", priority=n % 3, key=f"k{n}") for n in range(20)]
    assert add(other, key="k7").id == jobs[7].id
    later = add(broker, delay=1000)
    claimed = take(other, 100)
    assert [job.priority for job in claimed] == sorted((n % 3 for n in range(20)), reverse=True)
    assert settle(broker, claimed) == []
    assert settle(broker, claimed) == [job.id for job in claimed]
    broker.run(broker.cancel([later.id], "enough", 60))
    [info] = broker.run(broker.queues())
    assert info.counts == {"succeeded": 20, "cancelled": 1}
    assert all(check.next_step is None for check in broker.checkup())


def test_keys_of_many_apps_go_to_many_nodes(redis_cluster: RedisCluster, connect: Connect) -> None:
    for number in range(12):
        broker = connect(redis_cluster.url, prefix=f"app{number}")
        job = add(broker)
        assert [each.id for each in take(broker)] == [job.id]
        broker.run(broker.exchange([], None))
    sizes = []
    for member in redis_cluster.members:
        with member.client() as client:
            sizes.append(client.dbsize())
    assert all(sizes)


def test_who_waits_is_woken_there_too(make: Callable[[], RedisBroker]) -> None:
    broker, other = make(), make()
    with broker.waiter(["queue:default"]) as waiter:
        assert not waiter.wait(0.3)
        job = add(other)
        assert woken(waiter)
    claimed = take(broker)
    with other.waiter([f"job:{job.id}"]) as waiter:
        assert not waiter.wait(0.3)
        settle(broker, claimed)
        assert woken(waiter)


def test_scripts_are_sent_again_there_too(
    make: Callable[[], RedisBroker], request: pytest.FixtureRequest
) -> None:
    broker = make()
    add(broker)
    servers: list[RedisServer] = []
    if "cluster" in request.node.name:
        servers += request.getfixturevalue("redis_cluster").members
    else:
        servers += request.getfixturevalue("redis_sentinel").servers
    for server in servers:
        with server.client() as client:
            client.script_flush()
    assert len(take(broker)) == 1


def test_after_a_failover_the_new_primary_is_found(tmp_path: Path, connect: Connect) -> None:
    with RedisSentinel(tmp_path) as servers:
        broker = connect(servers.url, patience=PATIENCE)
        jobs = {add(broker).id for _ in range(10)}
        claimed = take(broker, 5)
        with servers.primary.client() as client:
            assert client.wait(1, 20_000) == 1, "the replica has all of it"
        with broker.waiter(["queue:default"]) as waiter:
            servers.kill_primary()
            jobs.add(add(broker).id)
            assert ids(broker) == jobs
            assert settle(broker, claimed) == []
            while len(take(broker, 10)):
                pass
            add(broker)
            assert woken(waiter)


def test_a_sentinel_that_does_not_know_the_service(redis_sentinel: RedisSentinel, connect: Connect) -> None:
    with pytest.raises(ConfigError, match="knows no service 'other'"):
        add(connect(redis_sentinel.url.replace("/primary", "/other")))


def test_a_cluster_that_lost_a_node_serves_again_when_it_is_back(tmp_path: Path, connect: Connect) -> None:
    with RedisCluster(tmp_path) as cluster:
        broker = connect(cluster.url, patience=PATIENCE)
        stored = {add(broker).id}
        owner = cluster.members[key_slot(broker._driver.address.key.encode()) // SHARE]
        owner.kill()
        with pytest.raises(BrokerUnavailable):
            add(connect(cluster.url, patience=0.5))
        owner.start()
        stored.add(add(broker).id)
        assert ids(broker) == stored


def test_while_its_slot_moves_an_app_waits_and_then_goes_on(tmp_path: Path, connect: Connect) -> None:
    """Scripts would see half of the keys: nothing is done until all of them are at the new node."""
    with RedisCluster(tmp_path) as cluster:
        broker = connect(cluster.url, patience=PATIENCE)
        stored = {add(broker).id for _ in range(20)}
        clients: list[Any] = [member.client() for member in cluster.members]
        slot = key_slot(broker._driver.address.key.encode())
        at = slot // SHARE
        to = (at + 1) % 3
        names = [client.execute_command("CLUSTER MYID") for client in clients]
        clients[to].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[at])
        clients[at].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[to])
        half = clients[at].execute_command("CLUSTER GETKEYSINSLOT", slot, 10)
        port = cluster.members[to].port
        clients[at].execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *half)
        with pytest.raises(BrokerUnavailable, match="moving this app's keys"):
            add(connect(cluster.url, patience=0.3))
        while rest := clients[at].execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
            clients[at].execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *rest)
        for client in clients:
            client.execute_command("CLUSTER SETSLOT", slot, "NODE", names[to])
            client.close()
        stored.add(add(broker).id)
        assert ids(broker) == stored
        assert len(take(broker, 100)) == 21
