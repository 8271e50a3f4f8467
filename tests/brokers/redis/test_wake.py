"""Wake-ups between processes: whoever is idle hears of work, and nobody else."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from redis import Redis

from backburner.brokers.base import Waiter
from backburner.brokers.redis.broker import RedisBroker
from tests.brokers.redis.conftest import Connect, add, keys, settle, take
from tests.servers.base import wait_until
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer


def woken(waiter: Waiter) -> bool:
    return any(waiter.wait(1) for _ in range(30))


def registered(client: Redis, broker: RedisBroker, topic: str) -> int:
    return int(client.zcard(f"{broker._driver.address.key}:listeners:{topic}"))


def wait_registered(client: Redis, broker: RedisBroker, topic: str, many: int = 1) -> None:
    wait_until(lambda: registered(client, broker, topic) == many, f"{many} on the register for {topic}")


def test_one_job_wakes_one_of_those_who_wait(broker: RedisBroker, client: Redis) -> None:
    with ExitStack() as stack:
        waiters = [stack.enter_context(broker.waiter(["queue:default"])) for _ in range(5)]
        wait_registered(client, broker, "queue:default", 5)
        add(broker)
        wait_until(lambda: registered(client, broker, "queue:default") == 4, "one is off the register")
        wait_until(lambda: any(waiter.wait(0.01) for waiter in waiters), "one is woken")
    wait_registered(client, broker, "queue:default", 0)


def test_who_has_waited_longest_is_woken(broker: RedisBroker, client: Redis) -> None:
    """The other one was, and a job for which it has no code came back to it for 45 seconds."""
    with broker.waiter(["queue:default"]) as first:
        wait_registered(client, broker, "queue:default")
        with broker.waiter(["queue:default"]) as second:
            wait_registered(client, broker, "queue:default", 2)
            add(broker)
            assert woken(first)
            assert not second.wait(0.01)


def test_as_many_are_woken_as_there_is_work(
    broker: RedisBroker, connect: Connect, client: Redis, redis_server: RedisServer
) -> None:
    others = [connect(redis_server.url) for _ in range(3)]
    with ExitStack() as stack:
        waiters = [stack.enter_context(each.waiter(["queue:default"])) for each in others]
        wait_registered(client, broker, "queue:default", 3)
        for _ in range(3):
            add(broker)
        assert all(woken(waiter) for waiter in waiters)


def test_who_finds_nothing_is_on_the_register_again_when_it_waits(broker: RedisBroker, client: Redis) -> None:
    with broker.waiter(["queue:default"]) as waiter:
        wait_registered(client, broker, "queue:default")
        for _ in range(3):
            add(broker)
            assert woken(waiter)
            assert len(take(broker)) == 1
            waiter.wait(0.01)
            wait_registered(client, broker, "queue:default")


def test_work_that_came_before_the_register_did_is_found(broker: RedisBroker) -> None:
    add(broker)
    with broker.waiter(["queue:default"]) as waiter:
        assert woken(waiter)


def test_a_paused_queue_wakes_nobody_until_it_goes_on(broker: RedisBroker, client: Redis) -> None:
    broker.run(broker.set_queue("default", paused=True))
    add(broker)
    with broker.waiter(["queue:default"]) as waiter:
        wait_registered(client, broker, "queue:default")
        assert not waiter.wait(0.1)
        broker.run(broker.set_queue("default", paused=False))
        assert woken(waiter)


def test_a_wake_up_for_one_that_has_gone_is_passed_on(broker: RedisBroker, client: Redis) -> None:
    with broker.waiter(["queue:default"]) as stays:
        wait_registered(client, broker, "queue:default")
        with broker.waiter(["queue:default"]):
            wait_registered(client, broker, "queue:default", 2)
            add(broker)  # wakes the last one to come, who leaves without having looked
        assert woken(stays)


def test_a_result_is_pushed_to_all_who_wait_for_it(
    broker: RedisBroker, connect: Connect, redis_server: RedisServer
) -> None:
    job = add(broker)
    claimed = take(broker)
    with ExitStack() as stack:
        waiters = [
            stack.enter_context(each.waiter([f"job:{job.id}"]))
            for each in (broker, broker, connect(redis_server.url))
        ]
        assert not waiters[2].wait(0.3)
        settle(broker, claimed)
        assert all(woken(waiter) for waiter in waiters)


def test_who_waits_for_a_job_that_is_final_or_gone_is_woken_at_once(broker: RedisBroker) -> None:
    job = add(broker)
    settle(broker, take(broker))
    for job_id in (job.id, "nobody"):
        with broker.waiter([f"job:{job_id}"]) as waiter:
            assert woken(waiter)


async def test_many_wait_on_one_event_loop(broker: RedisBroker) -> None:
    jobs = [add(broker) for _ in range(50)]

    async def wait(job_id: str) -> bool:
        with broker.waiter([f"job:{job_id}"]) as waiter:
            for _ in range(30):
                if await waiter.wait_async(1):
                    return True
        return False

    waiting = [asyncio.create_task(wait(job.id)) for job in jobs]
    await asyncio.sleep(0)
    settle(broker, take(broker, 50))
    assert all(await asyncio.gather(*waiting))


def listen_and_say_so(url: str, prefix: str, ready: object) -> None:
    broker = RedisBroker(f"{url}?prefix={prefix}")
    with broker.waiter(["queue:default", "stage"]) as waiter:
        waiter.wait(0.1)
        ready.set()  # type: ignore[attr-defined]
        waiter.wait(60)
        time.sleep(60)


def test_a_dead_process_takes_no_wake_up_from_the_living(
    broker: RedisBroker, client: Redis, redis_server: RedisServer
) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    prefix = broker._driver.address.prefix
    process = context.Process(target=listen_and_say_so, args=(redis_server.url, prefix, ready))
    process.start()
    assert ready.wait(30)
    wait_registered(client, broker, "queue:default")
    with broker.waiter(["queue:default"]) as waiter:
        wait_registered(client, broker, "queue:default", 2)
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        process.close()
        channels = f"{broker._driver.address.key}:wake:*"
        wait_until(lambda: len(client.pubsub_channels(channels)) == 1, "the server has noticed it")
        add(broker)
        assert woken(waiter)
        wait_registered(client, broker, "queue:default", 0)
        add(broker, delay=60)
        assert "listeners:stage" not in keys(client, broker)


def test_the_register_of_the_dead_expires(broker: RedisBroker, client: Redis) -> None:
    with broker.waiter(["queue:default", "stage"]):
        wait_registered(client, broker, "stage")
        for topic in ("queue:default", "stage"):
            assert 0 < client.ttl(f"{broker._driver.address.key}:listeners:{topic}") <= 45


def test_who_waits_survives_a_restart_of_the_server(tmp_path: Path, connect: Connect) -> None:
    with RedisServer(tmp_path) as server:
        broker, other = connect(server.url, patience=20), connect(server.url, patience=20)
        with broker.waiter(["queue:default"]) as waiter:
            add(other)
            assert woken(waiter)
            take(other)
            server.kill()
            assert not waiter.wait(0.3)
            server.start()
            assert woken(waiter), "something may have been missed"
            add(other)
            assert woken(waiter)


def test_a_process_with_many_files_hears_wake_ups(broker: RedisBroker, client: Redis) -> None:
    with ExitStack() as stack:
        for _ in range(1100):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        waiter = stack.enter_context(broker.waiter(["queue:default"]))
        wait_registered(client, broker, "queue:default")
        wait_until(lambda: broker._wakes.listening, "it listens")
        add(broker)
        assert woken(waiter)


def test_a_broker_is_closed_while_many_want_to_wait_and_nothing_flows(
    connect: Connect, redis_server: RedisServer
) -> None:
    with Proxy(redis_server.port) as proxy, ExitStack() as stack:
        broker = connect(proxy.url(redis_server.url))
        stack.enter_context(broker.waiter(["queue:default"]))
        wait_until(lambda: broker._wakes.listening, "it listens")
        proxy.stall()
        for _ in range(1000):
            stack.enter_context(broker.waiter(["queue:default"]))
        broker.close()
        assert "backburner-wakes" not in {thread.name for thread in threading.enumerate()}


def test_who_waited_through_a_close_takes_no_wake_up_from_later_ones(
    broker: RedisBroker, client: Redis
) -> None:
    with ExitStack() as later:
        with broker.waiter(["queue:other"]):
            wait_registered(client, broker, "queue:other")
            broker.close()
            waiter = later.enter_context(broker.waiter(["queue:default"]))
            wait_registered(client, broker, "queue:default")
        add(broker)
        assert woken(waiter)


def test_a_wait_is_short_while_nobody_can_be_heard(tmp_path: Path, connect: Connect) -> None:
    with RedisServer(tmp_path) as server:
        broker = connect(server.url)
        with broker.waiter(["queue:default"]) as waiter:
            assert not waiter.wait(0.1)
            server.kill()
            done = threading.Event()

            def wait_twice() -> None:
                waiter.wait(None)
                waiter.wait(None)
                done.set()

            thread = threading.Thread(target=wait_twice)
            thread.start()
            assert done.wait(20)
            thread.join()
