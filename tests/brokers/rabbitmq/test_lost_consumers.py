"""A queue that is deleted or gives no answer under those who take from it, and those who give up waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from pika.exceptions import ChannelClosedByBroker

from backburner.brokers.base import StoredSchedule
from backburner.brokers.rabbitmq import address
from backburner.brokers.rabbitmq.broker import RabbitBroker
from backburner.brokers.rabbitmq.link import connect as open_link
from backburner.schedule import Schedule
from backburner.testing.conformance.kit import ids, new_job
from tests.brokers.rabbitmq.beside import Beside, wait_until
from tests.brokers.rabbitmq.conftest import Connect
from tests.brokers.rabbitmq.helpers import ask
from tests.servers.base import free_port
from tests.servers.rabbitmq import RabbitServer

SCHEDULES = "backburner.schedules"


@pytest.fixture
def beside(rabbit_server: RabbitServer, rabbit_url: str, tmp_path: Path) -> Iterator[Beside]:
    beside = Beside(rabbit_server, rabbit_url, f"sqlite:///{tmp_path}/store.db")
    yield beside
    beside.close()


def fires(broker: RabbitBroker) -> list[float | None]:
    return [each.next_at for each in broker.run(broker.firing())]


def test_periodic_tasks_go_on_when_their_queue_is_deleted(connect: Connect, rabbit_url: str) -> None:
    first, second = connect().broker, connect().broker
    schedule = Schedule(name="nightly", task="t", every=60.0)
    first.run(first.save_schedule(StoredSchedule(schedule=schedule, next_at=1000.0)))
    wait_until(lambda: fires(first) == [1000.0], "the first process has it")
    assert fires(second) == []
    ask(rabbit_url, "queue_delete", queue=SCHEDULES)

    def is_consumed() -> bool:
        assert fires(first) + fires(second) in ([], [1000.0])
        try:
            return bool(ask(rabbit_url, "queue_declare", queue=SCHEDULES, passive=True).consumer_count)
        except ChannelClosedByBroker:
            return False

    wait_until(is_consumed, "there is a new queue, and somebody takes from it")
    wait_until(lambda: fires(first) + fires(second) == [1000.0], "one of the two has it again")
    one, other = (first, second) if fires(first) else (second, first)
    assert one.run(one.advance_schedule("nightly", 1000.0, 1060.0, []))
    one.close()
    wait_until(lambda: fires(other) == [1060.0], "the other one goes on")


def test_copies_are_used_up_when_one_of_their_queues_is_deleted(beside: Beside) -> None:
    process = beside.process()
    process.enqueue(new_job())
    process.claim()
    beside.use_up(process)
    ask(beside.url, "queue_delete", queue="backburner.normal.default")
    [job] = process.enqueue(new_job())
    assert ids(process.claim()) == [job.id]
    beside.use_up(process)


async def test_a_consumer_that_the_server_has_ended_is_none_that_is_waited_for(rabbit_url: str) -> None:
    """pika calls nobody back for one that it does not know any more: a worker hung there."""
    link = await open_link(address.read(rabbit_url), "test")
    channel, ended = await link.channel(), asyncio.Event()
    channel.raw.add_on_cancel_callback(lambda _: ended.set())
    await channel.call("queue_declare", queue="doomed")
    await channel.consume("doomed", "normal.1", lambda *_: None)
    await channel.call("queue_delete", queue="doomed")
    await ended.wait()
    async with asyncio.timeout(20):
        await channel.cancel("normal.1")
    await link.close()


PRIORITIES = {"urgent": 50, "high": 1, "normal": 0, "low": -1, "idle": -100}


@pytest.mark.parametrize(
    "others",
    [
        [(queue, "normal") for queue in ("a", "b", "c", "d", "e", "f")],
        [("mute", band) for band in ("urgent", "high", "low", "idle")],
    ],
    ids=["other queues", "other lanes"],
)
def test_copies_do_not_wait_for_a_lane_that_gives_no_answer(
    beside: Beside, others: list[tuple[str, str]]
) -> None:
    """As one on a quorum queue that has lost most of its nodes."""
    every = [*others, ("mute", "normal")]
    beside.process().enqueue(*[new_job(queue=queue, priority=PRIORITIES[band]) for queue, band in every])
    process = beside.process(f"{beside.url}&patience=1")
    assert len(process.claim(20, queues=tuple({queue for queue, _ in every}))) == len(every)
    vhost = f'<<"{urlsplit(beside.url).path[1:]}">>'

    def at(queue: str, band: str, ask: str) -> str:
        name = f'<<"backburner.{band}.{queue}">>'
        return f"{{ok, Queue}} = rabbit_amqqueue:lookup(rabbit_misc:r({vhost}, queue, {name})), {ask}"

    def left(lane: tuple[str, str]) -> int:
        count = "[{messages, Count}] = rabbit_amqqueue:info(Queue, [messages]), Count"
        return int(beside.server.evaluate(at(*lane, count)))

    beside.server.evaluate(at("mute", "normal", "sys:suspend(amqqueue:get_pid(Queue))"))

    def used_up() -> bool:
        process.stage()
        return not any(map(left, others))

    try:
        wait_until(used_up, "the copies in the other lanes are used up")
    finally:
        beside.server.evaluate(at("mute", "normal", "sys:resume(amqqueue:get_pid(Queue))"))
    beside.use_up(process)


def test_a_channel_that_nobody_waits_for_any_more_is_closed(
    rabbit_server: RabbitServer, rabbit_url: str
) -> None:
    def channels() -> int:
        return rabbit_server.ctl("list_channels", "vhost").count(urlsplit(rabbit_url).path[1:])

    async def called_off() -> None:
        link = await open_link(address.read(rabbit_url), "test")
        try:
            for _ in range(5):
                opening = asyncio.ensure_future(link.channel())
                await asyncio.sleep(0)
                opening.cancel()
                await asyncio.wait([opening])
            last = await link.channel()
            await last.call("basic_qos", prefetch_count=1)
            async with asyncio.timeout(30):
                while await asyncio.to_thread(channels) > 1:
                    await asyncio.sleep(0.1)
        finally:
            await link.close()

    asyncio.run(called_off())


def test_who_waits_where_nothing_can_be_heard_is_woken_to_be_told_why(connect: Connect) -> None:
    broker = connect(url=f"amqp://127.0.0.1:{free_port()}/?patience=0.2").broker
    with broker.waiter(["queue:default"]) as waiter:
        assert waiter.wait(30.0)
