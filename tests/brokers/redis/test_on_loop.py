"""Coroutines enqueue on a connection of their event loop, and lose nothing by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from backburner.brokers.redis import on_loop
from backburner.brokers.redis.broker import RedisBroker
from backburner.brokers.redis.driver import Driver
from backburner.brokers.redis.on_loop import LARGE
from backburner.control import Stop
from backburner.errors import BrokerUnavailable
from backburner.job import JobRecord
from tests.brokers.redis.conftest import Connect, add, commands, ids, new_job, take
from tests.brokers.redis.test_fork import in_child
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer

COUNT = 40


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """One that nobody else uses: it is held up, and its clients are counted."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def client(server: RedisServer) -> Iterator[Redis]:
    with server.client() as client:
        yield client


@pytest.fixture
def broker(server: RedisServer, connect: Connect) -> RedisBroker:
    return connect(server.url)


def enqueue(broker: RedisBroker, *jobs: JobRecord) -> Awaitable[list[JobRecord]]:
    return broker.arun(broker.enqueue(jobs or [new_job()], {}))


async def connected(broker: RedisBroker) -> None:
    """Enqueue until this loop has its connection, and the server both scripts."""
    loop = asyncio.get_running_loop()
    for jobs in ([new_job()], [new_job(), new_job()]):
        await asyncio.to_thread(broker.run, broker.enqueue(jobs, {}))
    for _ in range(1000):
        await enqueue(broker)
        line = broker._driver._lines._each.get(loop)
        if line is not None and line._link is not None:
            return
    raise AssertionError("the loop got no connection")


@asynccontextmanager
async def standstill(client: Redis) -> AsyncIterator[None]:
    """The server stores nothing meanwhile."""
    await asyncio.to_thread(client.client_pause, 60_000, all=False)
    try:
        yield
    finally:
        await asyncio.to_thread(client.client_unpause)


def sessions(client: Redis) -> int:
    return len(client.client_list())


def no_thread(*_: Any) -> Any:
    raise AssertionError("a thread was asked")


def no_loop(*_: Any) -> Any:
    raise AssertionError("the loop was asked")


async def test_an_enqueue_of_a_coroutine_asks_no_thread(
    broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connected(broker)
    monkeypatch.setattr(Driver, "run", no_thread)
    monkeypatch.setattr(Driver, "_store", no_thread)
    stored = [(await enqueue(broker))[0].id for _ in range(3)]
    monkeypatch.undo()
    assert set(stored) < ids(broker)


async def test_those_that_come_at_once_share_a_request(broker: RedisBroker, client: Redis) -> None:
    await connected(broker)
    client.config_resetstat()
    several = [[new_job() for _ in range(1 + number % 2)] for number in range(COUNT)]
    async with standstill(client):
        asked = [asyncio.ensure_future(enqueue(broker, *jobs)) for jobs in several]
        await asyncio.sleep(0)
    found = await asyncio.gather(*asked)
    assert commands(client)["evalsha"] == 2
    for jobs, stored in zip(several, found, strict=True):
        assert [one is other for one, other in zip(jobs, stored, strict=True)] == [True] * len(jobs)
    assert {job.id for jobs in several for job in jobs} < ids(broker)


async def test_each_is_told_of_its_own_jobs_that_are_there_already(
    broker: RedisBroker, client: Redis
) -> None:
    there = add(broker, key="k").id
    await connected(broker)
    several = [[new_job()], [new_job(), new_job(key="k")], [new_job(key="new")], [new_job(key="new")]]
    async with standstill(client):
        asked = [asyncio.ensure_future(enqueue(broker, *jobs)) for jobs in several]
        await asyncio.sleep(0)
    _, other, first, second = await asyncio.gather(*asked)
    assert [job.id for job in other] == [several[1][0].id, there]
    assert [job.id for job in (*first, *second)] == [several[2][0].id] * 2


async def test_one_that_cannot_be_stored_fails_alone(broker: RedisBroker, client: Redis) -> None:
    await connected(broker)
    before = len(ids(broker))
    async with standstill(client):
        asked = [
            asyncio.ensure_future(enqueue(broker, job))
            for job in (new_job(), new_job(priority=object()), new_job())
        ]
        await asyncio.sleep(0)
    _, bad, _ = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(bad, TypeError)
    assert len(ids(broker)) == before + 2


async def test_one_that_was_called_off_in_line_is_not_stored(broker: RedisBroker, client: Redis) -> None:
    await connected(broker)
    jobs = [new_job() for _ in range(3)]
    async with standstill(client):
        asked = [asyncio.ensure_future(enqueue(broker, job)) for job in jobs]
        await asyncio.sleep(0)
        asked[1].cancel()
        await asyncio.sleep(0)
    await asyncio.gather(*asked, return_exceptions=True)
    assert {job.id for job in jobs} & ids(broker) == {jobs[0].id, jobs[2].id}


async def test_when_the_connection_is_lost_all_are_stored_all_the_same(
    broker: RedisBroker, client: Redis
) -> None:
    await connected(broker)
    jobs = [new_job() for _ in range(COUNT)]
    async with standstill(client):
        asked = [asyncio.ensure_future(enqueue(broker, job)) for job in jobs]
        await asyncio.sleep(0)
        client.client_kill_filter(_type="normal", skipme=True)
    await asyncio.gather(*asked)
    await connected(broker)
    taken = [job.id for job in take(broker, 10_000)]
    assert {job.id for job in jobs} < set(taken)
    assert len(taken) == len(set(taken))


async def test_a_server_that_stands_still_is_waited_for_as_long_as_the_url_says(
    server: RedisServer, connect: Connect, client: Redis
) -> None:
    broker = connect(server.url, patience=0.5)
    await connected(broker)
    async with standstill(client):
        with pytest.raises(BrokerUnavailable, match="does not answer"):
            await asyncio.wait_for(enqueue(broker), 30)
    await connected(broker)


async def test_a_connection_that_went_silent_is_given_up_with_those_beside_it(
    server: RedisServer, connect: Connect
) -> None:
    """As where a balancer forgets idle connections: each would take its own time to be found out."""
    with Proxy(server.port) as proxy:
        broker = connect(proxy.url(server.url), patience=1.5)
        await connected(broker)
        await asyncio.to_thread(ids, broker)
        await asyncio.to_thread(proxy.strand)
        [stored] = await asyncio.wait_for(enqueue(broker), 30)
        assert stored.id in await asyncio.to_thread(ids, broker)


async def test_scripts_that_the_server_has_forgotten_are_sent_again_once(
    broker: RedisBroker, client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connected(broker)
    client.script_flush()
    client.config_resetstat()
    monkeypatch.setattr(Driver, "run", no_thread)
    stored = [(await enqueue(broker))[0].id for _ in range(5)]
    monkeypatch.undo()
    called = commands(client)
    assert (called["evalsha"], called["eval"]) == (5, 1)
    assert set(stored) < ids(broker)


async def test_a_refusal_costs_no_connection(broker: RedisBroker, client: Redis) -> None:
    await connected(broker)
    client.config_set("maxmemory", 1)
    client.config_resetstat()
    for _ in range(5):
        with pytest.raises(BrokerUnavailable, match="maxmemory"):
            await enqueue(broker)
    assert client.info("stats")["total_connections_received"] == 0
    client.config_set("maxmemory", 0)


async def test_what_would_hold_up_the_loop_goes_by_a_thread(
    broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connected(broker)
    monkeypatch.setattr(on_loop.Line, "_request", no_loop)
    [stored] = await enqueue(broker, new_job(payload=b"[1]" + b" " * LARGE))
    assert stored.id in ids(broker)


async def test_an_interruption_holds_up_nobody_who_comes_later(
    broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connected(broker)

    def interrupted(*_: Any) -> bytes:
        raise Stop

    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(on_loop.Line, "_request", interrupted)
        await enqueue(broker)
    [stored] = await asyncio.wait_for(enqueue(broker), 30)
    assert stored.id in ids(broker)


async def test_what_does_not_fit_into_the_socket_goes_piece_by_piece(
    broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connected(broker)
    monkeypatch.setattr(Driver, "run", no_thread)
    monkeypatch.setattr(on_loop, "LARGE", 1e9)
    large = [new_job(payload=b"[%d]" % number + b" " * 5_000_000) for number in range(4)]
    await asyncio.gather(*(enqueue(broker, job) for job in large))
    monkeypatch.undo()
    stored = {job.id: job.payload for job in take(broker, 10_000)}
    assert all(stored[job.id] == job.payload for job in large)


def test_a_loop_that_enqueues_once_opens_no_connection(broker: RedisBroker, client: Redis) -> None:
    async def once() -> None:
        await enqueue(broker)

    asyncio.run(once())
    before = client.info("stats")["total_connections_received"]
    for _ in range(10):
        asyncio.run(once())
    assert client.info("stats")["total_connections_received"] == before


def test_the_connections_of_loops_that_have_ended_are_closed(broker: RedisBroker, client: Redis) -> None:
    async def called_off() -> None:
        await connected(broker)
        async with standstill(client):
            await asyncio.wait([asyncio.ensure_future(enqueue(broker))], timeout=0.01)

    loops = [asyncio.new_event_loop() for _ in range(5)]
    for loop in loops:
        loop.run_until_complete(called_off())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    asyncio.run(connected(broker))
    assert len(broker._driver._lines._each) == 1
    broker.close()
    assert sessions(client) == 1


async def test_a_broker_that_is_closed_lets_go_of_it_and_can_go_on(
    broker: RedisBroker, client: Redis
) -> None:
    before = sessions(client)
    await connected(broker)
    async with standstill(client):
        asked = asyncio.ensure_future(enqueue(broker))
        await asyncio.sleep(0)
        closing = asyncio.get_running_loop().run_in_executor(None, broker.close)
        await asyncio.sleep(0)
    await asked
    await closing
    await until(lambda: sessions(client) == before)
    await connected(broker)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.001)


async def test_over_tls_it_is_the_same(
    tmp_path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RedisServer(tmp_path, tls=True) as secure:
        broker = connect(secure.url)
        await connected(broker)
        monkeypatch.setattr(Driver, "run", no_thread)
        monkeypatch.setattr(on_loop, "LARGE", 1e9)
        jobs = [new_job(payload=b"[1]" + b" " * 1_000_000) for _ in range(3)]
        await asyncio.gather(*(enqueue(broker, job) for job in jobs))
        monkeypatch.undo()
        assert {job.id for job in jobs} < ids(broker)


def test_a_forked_child_leaves_it_to_its_parent(broker: RedisBroker) -> None:
    with asyncio.Runner() as runner:
        runner.run(connected(broker))
        child = in_child(lambda: asyncio.run(connected(broker)))
        before = len(ids(broker))
        runner.run(connected(broker))
        assert child is None
        assert len(ids(broker)) == before + 4  # at once: the connection was there
