"""Coroutines enqueue on a connection of their event loop, and lose nothing by it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from typing import Any

import pytest

from backburner.brokers.rabbitmq.background import Background
from backburner.brokers.rabbitmq.driver import LARGE
from backburner.brokers.rabbitmq.on_loop import FEW, OnLoop
from backburner.brokers.rabbitmq.publisher import Publisher
from backburner.brokers.rabbitmq.schema import Part, Schema
from backburner.errors import BrokerError, BrokerUnavailable
from backburner.job import JobRecord
from tests.brokers.rabbitmq.conftest import Connect, Process, new_job
from tests.brokers.rabbitmq.helpers import ask
from tests.brokers.redis.test_fork import in_child
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitServer

QUEUE = Schema("backburner", "quorum").name(Part("work", "default", "normal"))


@pytest.fixture
def proxy(rabbit_server: RabbitServer) -> Iterator[Proxy]:
    with Proxy(rabbit_server.port) as proxy:
        yield proxy


@pytest.fixture
def process(connect: Connect) -> Process:
    return connect()


@pytest.fixture
def far(connect: Connect, rabbit_url: str, proxy: Proxy) -> Process:
    return connect(url=proxy.url(rabbit_url), options="?patience=4")


def enqueue(process: Process, *jobs: JobRecord) -> Awaitable[list[JobRecord]]:
    return process.broker.arun(process.broker.enqueue(jobs or [new_job()], {}))


def publisher(process: Process) -> Publisher | None:
    """That of the running loop."""
    found: OnLoop = process.broker._driver._loops.of_this()
    return found._publisher


async def settled_in(process: Process) -> list[JobRecord]:
    """Enqueue until the loop has a connection."""
    jobs = [job for _ in range(FEW + 2) for job in await enqueue(process)]
    assert publisher(process) is not None
    return jobs


def stored(process: Process, jobs: list[JobRecord]) -> None:
    """All of these, each of them once, and nothing else."""
    found = process.all(len(jobs))
    assert sorted(job.id for job in found) == sorted(job.id for job in jobs)
    assert process.claim() == []


def no_thread(*_: object) -> Any:
    raise AssertionError("the background was asked")


async def test_no_thread_takes_part(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = await settled_in(process)
    with monkeypatch.context() as patched:
        patched.setattr(Background, "call", no_thread)
        for _ in range(20):
            jobs += await enqueue(process)
        jobs += await enqueue(process, new_job(), new_job())
    await asyncio.to_thread(stored, process, jobs)


async def test_a_lone_job_starts_no_task(process: Process) -> None:
    jobs = await settled_in(process)
    tasks = list[object]()

    def start(loop: asyncio.AbstractEventLoop, work: Any, **given: Any) -> asyncio.Task[Any]:
        tasks.append(work)
        return asyncio.Task(work, loop=loop, **given)

    loop = asyncio.get_running_loop()
    loop.set_task_factory(start)
    jobs += await enqueue(process)
    loop.set_task_factory(None)
    assert tasks == []
    await asyncio.to_thread(stored, process, jobs)


async def test_those_that_come_at_once_are_all_stored(process: Process) -> None:
    jobs = await settled_in(process)
    for found in await asyncio.gather(*(enqueue(process) for _ in range(300))):
        jobs += found
    await asyncio.to_thread(stored, process, jobs)


async def test_many_or_large_ones_do_not_hold_up_the_loop(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settled_in(process)
    asked, call = list[object](), Background.call

    def counted(background: Background, begin: Any) -> Any:
        asked.append(begin)
        return call(background, begin)

    monkeypatch.setattr(Background, "call", counted)
    for jobs in ([new_job() for _ in range(FEW + 1)], [new_job(payload=b"x" * (LARGE + 1))]):
        asked.clear()
        await enqueue(process, *jobs)
        assert asked


async def test_a_queue_that_was_deleted_is_made_again(process: Process, rabbit_url: str) -> None:
    await settled_in(process)
    await asyncio.to_thread(ask, rabbit_url, "queue_delete", queue=QUEUE)
    jobs = [*await enqueue(process), *await enqueue(process)]
    await asyncio.to_thread(stored, process, jobs)


async def test_a_connection_that_the_server_closes_is_replaced(
    process: Process, rabbit_server: RabbitServer
) -> None:
    jobs = await settled_in(process)
    await asyncio.to_thread(rabbit_server.close_connections, "maintenance")
    jobs += await enqueue(process)
    jobs += await enqueue(process)
    await asyncio.to_thread(stored, process, jobs)


async def test_a_lost_confirm_loses_no_job(far: Process, proxy: Proxy) -> None:
    await settled_in(far)
    job = new_job()
    proxy.cut_replies(1, containing=job.id.encode())
    assert [each.id for each in await enqueue(far, job)] == [job.id]
    assert proxy.replies_cut == 1
    while (await asyncio.to_thread(far.next)).id != job.id:
        pass


async def test_a_connection_that_swallows_everything_is_left(far: Process, proxy: Proxy) -> None:
    jobs = await settled_in(far)
    await asyncio.to_thread(proxy.strand)
    jobs += await enqueue(far)
    await asyncio.to_thread(stored, far, jobs)


async def test_an_alarm_is_told_and_the_job_is_not_there_twice_when_it_is_over(
    connect: Connect, rabbit_server: RabbitServer
) -> None:
    process = connect("?patience=2")
    jobs = await settled_in(process)
    late = new_job()
    await asyncio.to_thread(rabbit_server.raise_alarm)
    try:
        with pytest.raises(BrokerUnavailable, match="alarm is set"):
            await enqueue(process, late)
    finally:
        await asyncio.to_thread(rabbit_server.clear_alarm)
    jobs += [late, *await enqueue(process)]
    await asyncio.to_thread(stored, process, jobs)


async def test_who_is_called_off_harms_no_other(process: Process) -> None:
    jobs = await settled_in(process)
    ways = [asyncio.ensure_future(enqueue(process)) for _ in range(20)]
    await asyncio.sleep(0)
    for way in ways[::2]:
        way.cancel()
    found = await asyncio.gather(*ways, return_exceptions=True)
    sure = [job for each in found if isinstance(each, list) for job in each]
    assert len(sure) == 10
    there = {job.id for job in await asyncio.to_thread(process.all, len(jobs) + 10)}
    there |= {job.id for job in await asyncio.to_thread(process.claim, 100)}
    assert {job.id for job in [*jobs, *sure]} <= there


async def test_what_cannot_be_sent_is_told(process: Process) -> None:
    jobs = await settled_in(process)
    with pytest.raises(BrokerError, match="cannot be sent"):
        await enqueue(process, new_job(id="x" * 300))
    jobs += await enqueue(process)
    await asyncio.to_thread(stored, process, jobs)


def test_loops_that_end_leave_no_connection(far: Process, proxy: Proxy) -> None:
    jobs: list[JobRecord] = []
    for _ in range(5):
        jobs += asyncio.run(settled_in(far))
    assert proxy.connections <= 3, "the background's, that of the last loop, and one that is being closed"
    stored(far, jobs)


def test_a_closed_broker_leaves_no_connection(far: Process, proxy: Proxy) -> None:
    async def work() -> list[JobRecord]:
        jobs = await settled_in(far)
        await asyncio.to_thread(far.broker.close)
        while proxy.connections:
            await asyncio.sleep(0.01)
        return jobs + await settled_in(far)

    stored(far, asyncio.run(work()))


def test_one_that_is_closed_as_its_loop_ends_leaves_none_either(far: Process, proxy: Proxy) -> None:
    async def work() -> list[JobRecord]:
        jobs = await settled_in(far)
        far.broker.close()
        return jobs

    jobs = asyncio.run(work())
    while proxy.connections:
        pass
    stored(far, jobs)


async def test_a_child_has_its_own(process: Process) -> None:
    jobs = await settled_in(process)
    mine = publisher(process)
    jobs += in_child(lambda: asyncio.run(settled_in(process)))
    jobs += await enqueue(process)
    assert publisher(process) is mine
    await asyncio.to_thread(stored, process, jobs)


def test_one_that_is_closed_between_two_turns_of_its_loop_leaves_none(far: Process, proxy: Proxy) -> None:
    """As fixtures of tests do: the loop goes on for no more than its own end."""
    with asyncio.Runner() as runner:
        jobs = runner.run(settled_in(far))
        far.broker.close()
    while proxy.connections:
        pass
    stored(far, jobs)
