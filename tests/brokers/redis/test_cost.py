"""What operations cost: requests, commands, and that the depth of a queue is none of it."""

from __future__ import annotations

from redis import Redis

from backburner.brokers.base import Beat, Claim
from backburner.brokers.redis.broker import RedisBroker
from backburner.lifecycle import succeeded
from tests.brokers.redis.conftest import Connect, add, commands, new_job, take
from tests.servers.redis import RedisServer


def requests(client: Redis) -> int:
    return int(client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


def test_a_batch_is_one_request(broker: RedisBroker, client: Redis) -> None:
    add(broker)
    take(broker)
    before = requests(client)
    broker.run(broker.enqueue([new_job() for _ in range(1000)], {}))
    assert requests(client) == before + 1
    claim = Claim(worker="w", queues=("default",), limit=500)
    claimed = broker.run(broker.exchange([], claim)).jobs
    done = [succeeded(job, b"1", broker.now(), keep=60) for job in claimed]
    before = requests(client)
    exchange = broker.run(broker.exchange(done, claim))
    assert (len(exchange.jobs), exchange.lost) == (500, [])
    assert requests(client) == before + 1


def test_a_batch_calls_few_commands_for_each_job(connect: Connect) -> None:
    with RedisServer() as server, server.client() as client:
        broker = connect(server.url)
        add(broker)
        take(broker)
        client.config_resetstat()
        broker.run(broker.enqueue([new_job() for _ in range(1000)], {}))
        assert sum(commands(client).values()) < 1000 + 50
        claim = Claim(worker="w", queues=("default",), limit=500)
        claimed = broker.run(broker.exchange([], claim)).jobs
        done = [succeeded(job, b"1", broker.now(), keep=60) for job in claimed]
        client.config_resetstat()
        broker.run(broker.exchange(done, claim))
        assert sum(commands(client).values()) < 4 * 500 + 50


def test_a_claim_costs_the_same_however_many_wait(connect: Connect) -> None:
    def calls(broker: RedisBroker, client: Redis) -> dict[str, int]:
        client.config_resetstat()
        assert len(broker.run(broker.exchange([], claim)).jobs) == 10
        return {
            name: count
            for name, count in commands(client).items()
            if name not in ("config|resetstat", "info")
        }

    claim = Claim(worker="w", queues=("default",), limit=10)
    with RedisServer() as server, server.client() as client:
        broker = connect(server.url)
        broker.run(broker.heartbeat([Beat(worker="w", lease=60, new=True)]))
        broker.run(broker.enqueue([new_job() for _ in range(30)], {}))
        broker.run(broker.exchange([], claim))
        few = calls(broker, client)
        for _ in range(10):
            broker.run(broker.enqueue([new_job() for _ in range(1000)], {}))
            broker.run(broker.enqueue([new_job(delay=1000) for _ in range(1000)], {}))
        assert calls(broker, client) == few


def test_who_waits_asks_nothing(connect: Connect) -> None:
    """Its connection is looked at every 15 seconds, and the register is kept."""
    with RedisServer() as server, server.client() as client:
        broker = connect(server.url)
        add(broker, queue="other")
        with broker.waiter(["queue:default", "stage"]) as waiter:
            waiter.wait(0.5)
            client.config_resetstat()
            for _ in range(4):
                waiter.wait(0.5)
            assert set(commands(client)) <= {"config|resetstat", "config", "info"}
