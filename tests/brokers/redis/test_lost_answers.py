"""Answers that never come: the server has done the work, and nobody hears of it."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from collections.abc import Iterator

import pytest
from redis import Redis

from backburner.brokers.base import Beat, Claim
from backburner.brokers.redis.broker import RedisBroker
from backburner.errors import BrokerUnavailable
from backburner.lifecycle import State, succeeded
from tests.brokers.redis.conftest import Connect, add, ids, new_job, settle, take
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer

CLAIM = Claim(worker="w", queues=("default",), limit=10)


@pytest.fixture
def proxy(redis_server: RedisServer) -> Iterator[Proxy]:
    with Proxy(redis_server.port) as proxy:
        yield proxy


@pytest.fixture
def distant(redis_server: RedisServer, proxy: Proxy, connect: Connect) -> RedisBroker:
    """The same keys as `broker`, by way of the proxy."""
    broker = connect(proxy.url(redis_server.url))
    add(broker, queue="other")
    return broker


def test_an_enqueue_whose_answer_is_lost_makes_one_job(proxy: Proxy, distant: RedisBroker) -> None:
    proxy.cut_replies(1, b"EVALSHA")
    job = new_job()
    [stored] = distant.run(distant.enqueue([job], {}))
    assert proxy.replies_cut == 1
    assert stored.id == job.id
    assert [each.id for each in take(distant, 10)] == [job.id]


async def test_so_it_is_on_an_event_loop(proxy: Proxy, distant: RedisBroker) -> None:
    proxy.cut_replies(1, b"EVALSHA")
    job = new_job()
    assert [each.id for each in await distant.arun(distant.enqueue([job], {}))] == [job.id]
    assert proxy.replies_cut == 1
    assert len(take(distant, 10)) == 1


def test_a_lost_exchange_is_an_error_and_is_recovered(proxy: Proxy, distant: RedisBroker) -> None:
    distant.run(distant.enqueue([new_job() for _ in range(4)], {}))
    old = take(distant, 2)
    done = [succeeded(job, b"1", distant.now(), keep=60) for job in old]
    proxy.cut_replies(1, b"EVALSHA")
    with pytest.raises(BrokerUnavailable):
        distant.run(distant.exchange(done, CLAIM))
    recovered = distant.run(distant.recover("w", done, [job.id for job in old]))
    assert recovered.applied == done
    assert len(recovered.jobs) == 2
    assert settle(distant, recovered.jobs) == []


def test_an_exchange_goes_through_when_the_idle_connection_had_been_cut(
    proxy: Proxy, distant: RedisBroker
) -> None:
    job = add(distant)
    distant.run(distant.heartbeat([Beat(worker="w", lease=60, new=True)]))
    proxy.cut()
    assert [each.id for each in distant.run(distant.exchange([], CLAIM)).jobs] == [job.id]


def test_a_network_that_swallows_everything_is_an_error_and_no_hang(
    proxy: Proxy, distant: RedisBroker
) -> None:
    proxy.stall()
    with pytest.raises(BrokerUnavailable, match="does not answer"):
        add(distant)
    proxy.resume()
    assert add(distant).id in ids(distant)


def test_a_server_that_has_forgotten_the_scripts_is_told_again(broker: RedisBroker, client: Redis) -> None:
    for _ in range(2):
        client.script_flush()
        job = add(broker)
        client.script_flush()
        [claimed] = take(broker)
        client.script_flush()
        assert settle(broker, [claimed]) == []
        assert broker.run(broker.get([job.id]))[0].state is State.SUCCEEDED


def test_jobs_survive_a_restart_of_the_server_in_the_middle(connect: Connect) -> None:
    with RedisServer() as server:
        broker = connect(server.url, patience=20)
        stored = {add(broker).id for _ in range(5)}
        [claimed] = take(broker)
        server.kill()
        server.start()
        assert settle(broker, [claimed]) == []
        assert ids(broker) == stored
        assert len(take(broker, 10)) == 4


class Interrupted(Exception):
    """Thrown into a thread, as a time limit is."""


def test_a_thread_that_is_interrupted_leaves_no_answer_to_the_next(
    proxy: Proxy, distant: RedisBroker
) -> None:
    """The answer to its request would be taken for that to another's."""
    caught = threading.Event()

    def enqueue() -> None:
        try:
            for _ in range(100):
                add(distant)
        except Interrupted:
            caught.set()

    proxy.delay(0.02)
    for _ in range(5):
        caught.clear()
        thread = threading.Thread(target=enqueue)
        thread.start()
        while thread.is_alive() and not caught.wait(0.05):
            assert thread.ident
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident), ctypes.py_object(Interrupted)
            )
        thread.join()
        assert caught.is_set()
        job = new_job()
        assert [each.id for each in distant.run(distant.enqueue([job], {}))] == [job.id]
        assert [each.id for each in distant.run(distant.get([job.id]))] == [job.id]
    proxy.delay(0)
    assert proxy.connections <= 10


async def test_what_was_called_off_is_done_all_the_same(proxy: Proxy, distant: RedisBroker) -> None:
    proxy.delay(0.05)
    job = new_job()
    waiting = asyncio.ensure_future(distant.arun(distant.enqueue([job], {})))
    waiting.cancel()
    distant.close()  # which waits for it
    assert job.id in ids(distant)
