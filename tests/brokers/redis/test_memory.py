"""Memory is bounded: nothing that has ended stays for ever."""

from __future__ import annotations

import pytest
from redis import Redis

from backburner import lifecycle
from backburner.brokers.base import Beat, Bound, Claim
from backburner.brokers.redis.broker import RedisBroker
from backburner.lifecycle import ErrorInfo, dead
from tests.brokers.redis.conftest import add, ids, keys, new_job, settle, take

JOBS = 100_000
KEPT = {"seq"}
"""The number of the last job, for ever; the rates of the last two days expire."""


def lasting(client: Redis, broker: RedisBroker) -> set[str]:
    """The keys that do not expire."""
    return {key for key in keys(client, broker) if not key.startswith("rates:")}


@pytest.mark.timeout(180)
def test_a_hundred_thousand_jobs_leave_nothing(broker: RedisBroker, client: Redis) -> None:
    broker.run(broker.heartbeat([Beat(worker="w", lease=600, new=True)]))
    claim = Claim(worker="w", queues=("a", "b"), limit=500)
    for first in range(0, JOBS, 1000):
        numbers = range(first, first + 1000)
        jobs = [
            new_job(queue="ab"[n % 2], priority=n % 3, key=f"k{n}" if n % 10 == 0 else None) for n in numbers
        ]
        broker.run(broker.enqueue(jobs, {}))
        settlements: list[lifecycle.Settlement] = []
        while claimed := broker.run(broker.exchange(settlements, claim)).jobs:
            settlements = [lifecycle.succeeded(job, b"1", broker.now(), keep=0) for job in claimed]
        while broker.run(broker.prune(500, 100)).deleted:
            pass
    broker.run(broker.heartbeat([Beat(worker="w", lease=0)]))
    broker.run(broker.rescue(10, 3))
    assert lasting(client, broker) == KEPT
    rates = [key for key in keys(client, broker) if key.startswith("rates:")]
    assert len(rates) < 10
    prefix = broker._driver.address.key + ":"
    assert all(0 < client.ttl(prefix + key) <= 2 * 24 * 3600 for key in rates)


def test_every_way_to_end_leaves_nothing(broker: RedisBroker, client: Redis) -> None:
    now = broker.now()
    boom = ErrorInfo("builtins.OSError", "boom", None)
    jobs = [add(broker, key=str(number)) for number in range(6)]
    late = add(broker, delay=1000)
    ok, dies, cancelled, crashes, *_ = take(broker, 4)
    broker.run(broker.cancel([cancelled.id], "enough", 0))
    broker.run(
        broker.exchange(
            [
                lifecycle.succeeded(ok, b"1", now, keep=0),
                lifecycle.dead(dies, boom, "no use", now),
                lifecycle.cancelled(cancelled, "enough", now, keep=0),
                lifecycle.crashed(crashes, now, poison_after=1),
            ],
            None,
        )
    )
    broker.run(broker.cancel([late.id, jobs[4].id], "enough", 0))
    broker.run(broker.set_queue("default", paused=True))
    broker.run(broker.set_queue("default", paused=False))
    broker.run(broker.prune(100, 0))
    broker.run(broker.delete([jobs[5].id]))
    broker.run(broker.heartbeat([Beat(worker="w", lease=0)]))
    broker.run(broker.rescue(10, 3))
    assert lasting(client, broker) == KEPT


def test_where_no_worker_prunes_new_jobs_push_out_what_is_overdue(broker: RedisBroker, client: Redis) -> None:
    clock = 1_800_000_000.0
    broker._driver.clock.injected = lambda: clock
    bound = {"default": Bound(queue="default", max_length=1, on_full="drop_oldest", keep=60)}
    for _ in range(50):
        broker.run(broker.enqueue([new_job()], bound))
        clock += 600
    assert len([key for key in keys(client, broker) if key.startswith("job:")]) < 12


def test_jobs_that_come_alone_push_out_what_is_overdue_too(broker: RedisBroker, client: Redis) -> None:
    clock = 1_800_000_000.0
    broker._driver.clock.injected = lambda: clock
    for _ in range(150):
        add(broker)
        settle(broker, take(broker), keep=60)
        clock += 600
    assert len([key for key in keys(client, broker) if key.startswith("job:")]) < 40


def test_a_job_that_fails_without_end_keeps_its_first_and_its_last_attempts(broker: RedisBroker) -> None:
    job = add(broker)
    broker.run(broker.heartbeat([Beat(worker="w", lease=600, new=True)]))
    claim = Claim(worker="w", queues=("default",), limit=1)
    settlements: list[lifecycle.Settlement] = []
    for _ in range(1100):
        [claimed] = broker.run(broker.exchange(settlements, claim)).jobs
        settlements = [lifecycle.crashed(claimed, broker.now(), poison_after=10_000)]
    broker.run(broker.exchange(settlements, None))
    tokens = [line.token for line in broker.run(broker.history(job.id))]
    assert tokens == [*range(1, 501), *range(601, 1101)]


def test_who_waited_for_a_job_and_died_is_forgotten_with_it(broker: RedisBroker, client: Redis) -> None:
    job = add(broker)
    prefix = broker._driver.address.key + ":"
    client.hset(f"{prefix}job:{job.id}", "w", "nobody:1 nobody:2")
    client.zadd(f"{prefix}listeners:queue:default", {"nobody:3": 1e12})
    settle(broker, take(broker), keep=0)
    add(broker)
    broker.run(broker.prune(10, 10))
    assert "listeners:queue:default" not in keys(client, broker)


def test_dead_jobs_are_trimmed_also_where_a_full_server_deleted_some(
    broker: RedisBroker, client: Redis
) -> None:
    for _ in range(3):
        add(broker)
    jobs = take(broker, 3)
    why = ErrorInfo(None, "why")
    broker.run(broker.exchange([dead(job, why, "why", broker.now()) for job in jobs], None))
    client.delete(f"{broker._driver.address.key}:job:{jobs[0].id}")
    broker.run(broker.prune(10, 1))
    assert ids(broker) == {jobs[2].id}
