"""Damaged messages on RabbitMQ alone: the good jobs run, and the rest are dead letters."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backburner import Backburner, State
from backburner.brokers.base import Filter
from backburner.brokers.rabbitmq import address
from backburner.brokers.rabbitmq.link import Channel, connect
from backburner.brokers.rabbitmq.schema import Part, Schema, band_of
from backburner.brokers.rabbitmq.wire import BASIC, END, FRAME, HEAD, HEADER, Properties, publication
from backburner.testing import adrain
from tests.brokers.rabbitmq.helpers import waiting
from tests.brokers.vandals import PostgresVandal, RedisVandal, SqliteVandal
from tests.cli.helpers import Operator
from tests.servers.fixtures import installed
from tests.stores import URLS

DEEP = 100_000
DEAD = Filter(states=(State.DEAD,), queue="default")


def job(**fields: Any) -> str:
    return json.dumps({"id": "bad", "task": "good", **fields})


def nested(depth: int) -> bytes:
    """A header of tables within tables, which no client of ours could write."""
    value = b"V"
    for _ in range(depth):
        value = b"A" + struct.pack(">I", len(value)) + value
    return b"\x01x" + value


HEADERS: dict[str, Any] = {
    "no header": {},
    "truncated": {"job": job()[:-1]},
    "not even a text": {"job": 7},
    "bytes that are no UTF-8": {"job": b'{"id":"\xff"}'},
    "a lone surrogate": {"job": '{"id":"\\ud800","task":"good"}'},
    "of other types": {"job": job(priority="high")},
    "an unknown state": {"job": job(state="paused")},
    "an impossible policy": {"job": job(options={"retry": {"max_attempts": -1}})},
    "deeply nested": {"job": job(options={"meta": 0}).replace("0", '{"a":' * 10_000 + "0" + "}" * 10_000)},
    "a number of 10,000 digits": {"job": job(priority=0).replace("0", "9" * 10_000)},
    "a priority beyond all": {"job": job(priority=10**18)},
    "claims beyond all": {"job": job(token=10**18)},
    "due at no time": {"job": job(run_at=1e300)},
    "an id too long": {"job": job(id="x" * 300)},
    "a time that is none": b"\x01xT\x40" + b"\0" * 7,
    "tables within tables": nested(5_000),
    "headers that fill a frame": {"x": "y" * 130_000},
}
BODIES: dict[str, bytes] = {
    "truncated arguments": b"[1",
    "deeply nested arguments": b"[" * DEEP + b"]" * DEEP,
    "arguments that are no UTF-8": b'["\xff"]',
    "an argument of 10 MB": b'["' + b"x" * 10_000_000 + b'"]',
    "no arguments": b"",
}


@pytest.fixture
def app(rabbit_url: str) -> Iterator[Backburner]:
    app = Backburner(rabbit_url)

    @app.task(name="good")
    async def good(number: int) -> int:
        seen.append(number)
        return number

    seen: list[int] = []
    good.seen = seen  # type: ignore[attr-defined]
    yield app
    app.close()


def put(url: str, headers: Any, body: bytes = b"[99]") -> None:
    """A message straight into the queue of the jobs; headers may be bytes as they are on the wire."""
    schema = Schema(address.read(url).prefix, "quorum")
    queue = schema.name(Part("work", "default", band_of(0)))

    def frames(channel: Channel) -> bytes:
        number, most = channel.raw.channel_number, channel.raw.connection.most
        if not isinstance(headers, bytes):
            return publication(number, "", queue, False, Properties("m", headers), body, most)
        plain = publication(number, "", queue, False, Properties("m"), body, most)
        head = HEAD.pack(BASIC, 0, len(body), 1 << 13) + struct.pack(">I", len(headers)) + headers
        at = FRAME.unpack_from(plain)[2] + 8  # behind the method
        end = at + FRAME.unpack_from(plain, at)[2] + 8
        return plain[:at] + FRAME.pack(HEADER, number, len(head)) + head + END + plain[end:]

    async def published() -> None:
        link = await connect(address.read(url), "test")
        channel = await link.channel()
        link.raw.send(frames(channel))
        await channel.call("basic_qos", prefetch_count=1)
        await link.close()

    asyncio.run(published())


@pytest.mark.parametrize("what", [*HEADERS, *BODIES])
async def test_the_good_jobs_run_and_the_damaged_one_is_a_dead_letter(
    rabbit_url: str, app: Backburner, what: str
) -> None:
    good: Any = app.tasks["good"]
    good.enqueue_many([(number,) for number in range(3)])
    if what in HEADERS:
        await asyncio.to_thread(put, rabbit_url, HEADERS[what])
    else:
        await asyncio.to_thread(put, rabbit_url, {"job": job()}, BODIES[what])
    good.enqueue_many([(number,) for number in range(3, 6)])
    await adrain(app)
    assert sorted(good.seen) == [0, 1, 2, 3, 4, 5]

    listed = Operator().read("dead", "list", "--queue", "default", "--url", rabbit_url)
    [dead] = app.inspector.jobs(DEAD)
    assert dead.id in listed
    says = "holds no job of Backburner" if what in HEADERS else "arguments do not fit good"
    assert says in str(dead.reason)
    assert len(str(dead.reason)) < 1000
    assert app.inspector.delete([dead.id]) == [dead.id]
    assert app.inspector.jobs(DEAD) == []


STORES: dict[str, type[SqliteVandal | RedisVandal | PostgresVandal]] = {
    "sqlite": SqliteVandal,
    "redis": RedisVandal,
    "postgres": PostgresVandal,
}


@pytest.mark.parametrize("what", ["options: truncated", "options: deeply nested", "truncated arguments"])
@pytest.mark.parametrize("name", STORES)
async def test_with_results_a_record_that_is_damaged_in_the_store_is_quarantined_there(
    rabbit_url: str, tmp_path: Path, name: str, what: str
) -> None:
    store = installed(lambda: URLS[name](tmp_path))
    app = Backburner(rabbit_url, results=store)

    @app.task(name="good")
    async def good(number: int) -> int:
        return number

    jobs = [good.enqueue(number) for number in range(3)]
    vandal, bad = STORES[name](store), good.enqueue(99)
    vandal.write(bad.id, vandal.damages[what].field, vandal.damages[what].value)
    await asyncio.to_thread(put, rabbit_url, {"job": job()[:-1]})  # a copy, too
    await adrain(app)
    assert [each.result(timeout=0) for each in jobs] == [0, 1, 2]
    [dead] = app.inspector.jobs(Filter(states=(State.DEAD,)))
    assert (dead.id, vandal.damages[what].says in str(dead.reason)) == (bad.id, True)
    at = ("--url", rabbit_url, "--results", store)
    assert "dead since" in Operator().read("explain", bad.id, *at)
    assert Operator().read("dead", "delete", bad.id, "--yes", *at) == "deleted 1 job\n"
    app.close()


async def test_a_damaged_history_is_no_reason_not_to_run(rabbit_url: str, app: Backburner) -> None:
    good: Any = app.tasks["good"]
    good.enqueue(1)
    await adrain(app)
    await asyncio.to_thread(put, rabbit_url, {"job": job(), "history": "[{"})
    await adrain(app)
    assert good.seen == [1, 99]


async def test_a_job_of_a_newer_version_waits_for_a_worker_of_that(rabbit_url: str, app: Backburner) -> None:
    newer = job(options={"format": 2, "tags": "of another type"})
    good: Any = app.tasks["good"]
    good.enqueue(1)
    await asyncio.to_thread(put, rabbit_url, {"job": newer})
    await adrain(app)
    assert good.seen == [1]
    assert (
        await asyncio.to_thread(waiting, rabbit_url, "delay.3") == 1
    )  # 15 s: it comes back, and was not run
    assert app.inspector.jobs(DEAD) == []
