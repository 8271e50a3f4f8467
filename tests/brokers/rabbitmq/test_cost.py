"""What operations cost on RabbitMQ: methods that are sent, those that wait for an answer, and writes."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from pika import spec

from backburner.brokers.base import Claim
from backburner.brokers.rabbitmq.connection import Connection
from backburner.brokers.rabbitmq.schema import LANES
from backburner.brokers.rabbitmq.wire import FRAME, METHOD
from backburner.job import JobRecord
from backburner.lifecycle import succeeded
from tests.brokers.rabbitmq.conftest import Connect, Process

BATCH = 100
CHANGES = 10
"""Times that a window changes with the pace of a worker in twenty exchanges, at most: the machine is busy."""


class Meter:
    """What this process has sent to RabbitMQ since it was last asked."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.sent = Counter[str]()
        self.questions = 0
        """Methods after which the server's answer is waited for."""
        self.writes = 0

    def add(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            kind, _, size = FRAME.unpack_from(data, at)
            if kind == METHOD:
                method = spec.methods[int.from_bytes(data[at + 7 : at + 11])]
                self.sent[method.NAME] += 1
                self.questions += method().synchronous
            at += size + 8
        self.writes += 1


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Meter:
    meter, flush = Meter(), Connection._flush

    def flush_counted(connection: Connection) -> None:
        if written := b"".join(connection._written):
            meter.add(written)
        flush(connection)

    monkeypatch.setattr(Connection, "_flush", flush_counted)
    return meter


@pytest.fixture
def process(connect: Connect, meter: Meter) -> Process:
    return connect("?queues=classic")


def exchange(process: Process, done: list[JobRecord], limit: int = BATCH) -> list[JobRecord]:
    """Settle these and claim as many more, all of which are there."""
    settlements = [succeeded(job, None, process.broker.now(), keep=60) for job in done]
    answer = process.broker.run(
        process.broker.exchange(settlements, Claim(worker="w", queues=("default",), limit=limit))
    )
    assert answer.lost == []
    return answer.jobs


def claimed(process: Process, count: int) -> list[JobRecord]:
    """Exactly so many, when they come."""
    found: list[JobRecord] = []
    while len(found) < count:
        found += exchange(process, [], count - len(found))
    return found


def test_an_enqueue_is_one_message_and_its_confirm(process: Process, meter: Meter) -> None:
    process.add()
    meter.reset()
    process.add()
    assert (meter.sent, meter.questions, meter.writes) == ({"Basic.Publish": 1}, 0, 1)


def test_an_enqueue_starts_no_task_and_its_confirm_is_not_read_by_pika(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the turns of the loop that they took it was a quarter of the time of an enqueue."""
    process.add()
    tasks, frames = list[object](), list[object]()
    read_frame = Connection._read_frame

    def start(loop: asyncio.AbstractEventLoop, work: Any, **given: Any) -> asyncio.Task[Any]:
        tasks.append(work)
        return asyncio.Task(work, loop=loop, **given)

    def read_counted(connection: Connection) -> Any:
        frames.append(connection)
        return read_frame(connection)

    loop = process.broker._driver._background._loop
    assert loop is not None
    loop.set_task_factory(start)
    monkeypatch.setattr(Connection, "_read_frame", read_counted)
    process.add()
    assert (tasks, frames) == ([], [])


def test_a_batch_asks_nothing_and_goes_out_in_few_writes(process: Process, meter: Meter) -> None:
    process.add()
    meter.reset()
    process.add(1000)
    assert (meter.sent, meter.questions) == ({"Basic.Publish": 1000}, 0)
    assert meter.writes <= 1000 / 100 + 1


def test_an_exchange_asks_at_most_one_question_for_a_hundred_jobs(process: Process, meter: Meter) -> None:
    """But for a few times in which the window follows the pace: then the lane's consumer is replaced."""
    process.add(30 * BATCH)
    held = claimed(process, BATCH)
    meter.reset()
    exchanges = 0
    while exchanges < 20:
        held = exchange(process, held)
        exchanges += 1
    assert meter.sent.keys() <= {"Basic.Ack", "Basic.Qos", "Basic.Consume", "Basic.Cancel"}
    replaced = meter.sent["Basic.Consume"]
    assert replaced <= CHANGES
    assert meter.questions <= exchanges + CHANGES * 2 + 2 * replaced
    assert meter.sent["Basic.Ack"] <= 3 * exchanges
    assert meter.writes <= 3 * exchanges + meter.questions


def test_a_worker_that_looks_past_what_it_has_no_room_for_keeps_its_window(
    process: Process, meter: Meter
) -> None:
    """It wants far more out for a moment, again and again. When the window followed, it was changed twenty
    times a second, and the worker held thousands of deliveries that it did not want.
    """
    process.add(4000)
    held = claimed(process, 10)
    meter.reset()
    past = Claim(worker="w", queues=("default",), limit=20, exclude=("t",))
    for _ in range(30):
        for _ in range(3):
            held = [*held[2:], *exchange(process, held[:2], 2)]
        assert process.broker.run(process.broker.exchange([], past)).jobs == []
    assert meter.sent["Basic.Consume"] <= CHANGES
    assert process.broker._driver.consumer._subscriptions["default"].out <= 1000


def test_who_finds_nothing_asks_one_question_and_who_waits_none(process: Process, meter: Meter) -> None:
    exchange(process, [])
    with process.broker.waiter(["queue:default"]) as waiter:
        waiter.wait(0.1)
        meter.reset()
        for _ in range(10):
            assert exchange(process, []) == []
        assert meter.sent == {"Basic.Qos": 10}
        meter.reset()
        for _ in range(3):
            waiter.wait(0.5)
        assert meter.sent == {}


def test_a_start_declares_each_queue_once_a_connection(process: Process, meter: Meter) -> None:
    """Those of the lanes by who publishes and who consumes; the gate, and a queue for what is told to all."""
    process.add()
    exchange(process, claimed(process, 1))
    assert meter.sent["Queue.Declare"] <= 2 * len(LANES) + 3
    assert meter.sent["Exchange.Declare"] <= 2 * len(LANES) + 1
    assert meter.sent["Connection.Open"] == 2
    assert meter.sent["Channel.Open"] <= 5
