"""Damage beside the fields of a job: ids, and the lines that a heartbeat reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import msgpack
from redis import Redis

from backburner import Backburner
from backburner.brokers.base import Beat, Filter
from backburner.brokers.redis.broker import RedisBroker
from backburner.lifecycle import State
from backburner.testing import adrain
from tests.brokers.redis.conftest import add, ids, take
from tests.servers.redis import RedisServer

LINES = {
    "nothing": b"",
    "no MessagePack": b"\xc1",
    "half of it": b"\x94\xc4\x7f{",
    "a number": b"\x07",
    "a text where the start is": msgpack.encode([b"{}", "soon", 1.0, 2.0]),
    "deeply nested": b"\x91" * 100_000,
}


@pytest.fixture
def raw(redis_server: RedisServer) -> Iterator[Redis]:
    """A client that takes bytes for bytes."""
    with Redis.from_url(redis_server.url) as client:
        yield client


def base(broker: RedisBroker) -> bytes:
    return broker._driver.address.key.encode() + b":"


@pytest.mark.parametrize("line", LINES)
def test_a_worker_whose_line_is_damaged_beats_on_like_the_others(
    broker: RedisBroker, raw: Redis, line: str
) -> None:
    add(broker)
    take(broker, worker="mine")
    take(broker, worker="other")
    raw.hset(base(broker) + b"workers", "mine", LINES[line])
    assert {info.id for info in broker.run(broker.workers())} == {"mine", "other"}
    directives = broker.run(broker.heartbeat([Beat(worker=name, lease=60) for name in ("mine", "other")]))
    assert (directives.cancel, directives.lost) == ({}, [])
    [mine, other] = sorted(broker.run(broker.workers()), key=lambda info: info.id)
    assert mine.seen_at == other.seen_at
    assert mine.beat.host == ""
    assert broker.run(broker.rescue(10, 3)) == []


@pytest.mark.parametrize("line", [b"", b"no worker is named", b"\xff\x00\xff"])
def test_a_request_to_stop_that_is_damaged_hides_no_other(
    broker: RedisBroker, raw: Redis, line: bytes
) -> None:
    first, second = [add(broker) for _ in range(2)]
    take(broker, 2)
    broker.run(broker.cancel([first.id, second.id], "enough", 60))
    raw.hset(base(broker) + b"cancels", first.id, line)
    assert broker.run(broker.heartbeat([Beat(worker="w", lease=60)])).cancel == {second.id: "enough"}


NO_TEXT = [b"\xff\xfe-7", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", "é".encode() + b"\x80"]


@pytest.fixture
def app(redis_server: RedisServer, broker: RedisBroker) -> Iterator[Backburner]:
    app = Backburner(broker.url)

    @app.task(name="good")
    async def good(number: int) -> int:
        return number

    yield app
    app.close()


def rename(raw: Redis, broker: RedisBroker, old: str, new: bytes) -> None:
    """Wherever a job that waits is named."""
    raw.rename(base(broker) + b"job:" + old.encode(), base(broker) + b"job:" + new)
    for key in raw.scan_iter(base(broker) + b"*"):
        if raw.type(key) == b"zset":
            places: Any = raw.zrange(key, 0, -1, withscores=True)
            for place, score in places:
                if place.endswith(old.encode()):
                    raw.zrem(key, place)
                    raw.zadd(key, {place.removesuffix(old.encode()) + new: score})


@pytest.mark.parametrize("delay", [0.0, 0.01], ids=["waiting", "for later"])
@pytest.mark.parametrize("name", NO_TEXT, ids=repr)
async def test_a_job_whose_id_is_no_text_does_not_run_and_can_be_deleted(
    app: Backburner, broker: RedisBroker, raw: Redis, name: bytes, delay: float
) -> None:
    task = app.tasks["good"]
    before, bad, after = task.enqueue(1), task.using(delay=delay).enqueue(2), task.enqueue(3)
    rename(raw, broker, bad.id, name)
    assert len(app.inspector.jobs(Filter(limit=10))) == 3
    while not (found := app.inspector.jobs(Filter(states=(State.DEAD,)))):  # until it is due
        await adrain(app)
    assert (before.result(timeout=0), after.result(timeout=0)) == (1, 3)
    [dead] = found
    assert "its id: it was no UTF-8" in str(dead.reason)
    assert "\\x" in dead.id
    assert app.inspector.job(dead.id) == dead
    assert app.inspector.delete([dead.id]) == [dead.id]
    assert ids(broker) == {before.id, after.id}
    assert app.inspector.queues()[0].counts == {"succeeded": 2}
    assert not [key for key in raw.scan_iter(base(broker) + b"*") if name in key]


async def test_a_job_with_an_id_of_other_letters_is_like_any_other(
    app: Backburner, broker: RedisBroker, raw: Redis
) -> None:
    job = app.tasks["good"].enqueue(1)
    rename(raw, broker, job.id, "naïve-📷-\u07ff\u0800\ud7ff\ue000\U0010ffff".encode())
    await adrain(app)
    [done] = app.inspector.jobs(Filter(limit=10))
    assert (done.state, done.result) == (State.SUCCEEDED, b"1")
