"""A job that comes alone goes a shorter way, and is stored as if it had come with others."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import Any

import pytest
from redis import Redis

from backburner.brokers.redis.broker import RedisBroker
from backburner.brokers.redis.steps import DoEnqueue, together
from backburner.job import Options
from tests.brokers.redis.conftest import Connect, add, commands, ids, keys, new_job, settle, take
from tests.servers.redis import RedisServer

NOW = 1_700_000_000.25


def contents(client: Redis, broker: RedisBroker) -> dict[str, Any]:
    """Byte for byte, with the order of sets and the scores in it."""
    prefix = broker._driver.address.key + ":"
    return {key: client.dump(prefix + key) for key in keys(client, broker)}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"payload": b"[1, 2]", "queue": "späße", "task": "ünïts", "priority": -3},
        {"options": Options(meta={"trace": "on"}), "task": "t" * 300},
    ],
)
def test_a_job_alone_is_stored_as_one_among_others(
    redis_server: RedisServer, client: Redis, fields: dict[str, Any]
) -> None:
    first, second = (new_job(**fields) for _ in range(2))
    found = []
    with ExitStack() as stack:
        for prefix, together in (("alone", [[first], [second]]), ("among", [[first, second]])):
            url = f"{redis_server.url}?prefix={prefix}-{first.id}"
            broker = stack.enter_context(closing(RedisBroker(url, lambda: NOW)))
            for jobs in together:
                broker.run(broker.enqueue(jobs, {}))
            found.append(contents(client, broker))
    assert found[0] == found[1]


def test_a_job_alone_calls_few_commands(connect: Connect) -> None:
    with RedisServer() as server, server.client() as client:
        broker = connect(server.url)
        add(broker)
        client.config_resetstat()
        add(broker)
        called = commands(client)
    assert sum(called.values()) <= 10, called  # with the script, and the one that began to count


def test_a_job_alone_that_is_there_is_kept(broker: RedisBroker) -> None:
    job = new_job(payload=b"first")
    broker.run(broker.enqueue([job], {}))
    (kept,) = broker.run(broker.enqueue([new_job(id=job.id, payload=b"second")], {}))
    assert kept.payload == b"first"
    assert ids(broker) == {job.id}


def test_a_request_that_is_done_late_changes_nothing(broker: RedisBroker, client: Redis) -> None:
    """As one whose connection was lost, which was then sent again on another."""
    job = new_job()
    late = together([DoEnqueue([job])])
    broker.run(broker.enqueue([job], {}))
    settle(broker, take(broker))
    before = contents(client, broker)
    assert broker._driver.perform(late) is None
    assert contents(client, broker) == {**before, "seq": client.dump(f"{broker._driver.address.key}:seq")}
    assert take(broker) == []
