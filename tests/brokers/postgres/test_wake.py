"""Wake-ups between processes: prompt, and free of charge while nobody waits."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from backburner.brokers.base import Waiter
from backburner.brokers.postgres.broker import PostgresBroker
from tests.brokers.postgres.conftest import add, new_job, schema_of, sql
from tests.servers.pgbouncer import PgBouncer


@pytest.fixture
def broker(broker: PostgresBroker) -> PostgresBroker:
    """The schema is there already: to make it takes longer than a waiter waits for its registration."""
    add(broker, queue="other")
    return broker


def heard(waiter: Waiter, times: int = 6) -> bool:
    return any(waiter.wait(5) for _ in range(times))


def waiting(url: str) -> int:
    found: int = sql(url, f"SELECT count(*) FROM {schema_of(url)}.waiting")[0][0]
    return found


def test_as_many_are_woken_as_there_is_work_for(broker: PostgresBroker, url: str) -> None:
    with ExitStack() as stack:
        waiters = [stack.enter_context(broker.waiter(["queue:default"])) for _ in range(5)]
        assert waiting(url) == 5
        broker.run(broker.enqueue([new_job(), new_job()], {}))
        assert waiting(url) == 3
        with ThreadPoolExecutor(5) as threads:
            woken = list(threads.map(lambda waiter: waiter.wait(1), waiters))
        assert sum(woken) == 2


def test_who_waits_for_something_else_is_not_notified(broker: PostgresBroker, url: str) -> None:
    """A notification makes commits wait for each other."""
    wait = f"INSERT INTO {schema_of(url)}.waiting VALUES ('queue:rare', 'mine', 7, now() + interval '1 h')"
    with psycopg.connect(url.partition("?")[0], autocommit=True) as listener:
        heard: list[str] = []
        listener.add_notify_handler(lambda notice: heard.append(notice.payload))
        listener.execute("LISTEN mine")
        listener.execute(wait.encode())
        add(broker)
        broker.run(broker.enqueue([new_job(delay=60)], {}))
        listener.execute("SELECT 1")
        assert heard == []
        add(broker, queue="rare")
        listener.execute("SELECT 1")
        assert heard == ["7 queue:rare"]


def test_who_waits_for_one_result_is_woken_by_it_alone(broker: PostgresBroker) -> None:
    with broker.waiter(["job:a"]) as first, broker.waiter(["job:b"]) as second:
        add(broker, id="a")
        broker.run(broker.cancel(["a"], "enough", 60))
        assert heard(first)
        assert not second.wait(0.1)


def test_all_who_wait_for_one_result_are_woken(broker: PostgresBroker) -> None:
    with broker.waiter(["job:a"]) as first, broker.waiter(["job:a"]) as second:
        add(broker, id="a")
        broker.run(broker.cancel(["a"], "enough", 60))
        assert heard(first)
        assert heard(second)


def test_a_waiter_may_wait_again_and_again(broker: PostgresBroker) -> None:
    with broker.waiter(["queue:default"]) as waiter:
        for _ in range(3):
            add(broker)
            assert heard(waiter)


def test_the_first_wait_ends_soon_for_one_more_look(broker: PostgresBroker) -> None:
    """An enqueue that had looked at the register before, and commits now, tells nobody."""
    with broker.waiter(["queue:default"]) as waiter:
        began = time.monotonic()
        assert not waiter.wait(None)
        assert time.monotonic() - began < 1


async def test_a_thread_wakes_a_coroutine(broker: PostgresBroker) -> None:
    with broker.waiter(["queue:default"]) as waiter, ThreadPoolExecutor(1) as thread:
        thread.submit(add, broker)
        for _ in range(6):
            if await asyncio.wait_for(waiter.wait_async(5), 30):
                return
    pytest.fail("not woken")


def test_who_waits_no_longer_is_forgotten(broker: PostgresBroker, url: str) -> None:
    with broker.waiter([f"queue:{number}" for number in range(10)]):
        assert waiting(url) == 10
    broker.close()
    assert waiting(url) == 0


def test_dead_listeners_vanish(broker: PostgresBroker, url: str) -> None:
    add(broker)
    dead = f"INSERT INTO {schema_of(url)}.waiting VALUES ('queue:default', 'gone', 1, now() - interval '1 s')"
    sql(url, dead)
    add(broker)
    broker.run(broker.prune(10, 10))
    assert waiting(url) == 0


def test_behind_a_pooler_who_waits_is_found_by_polling_and_that_is_said_once(
    pgbouncer: PgBouncer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker = PostgresBroker(url.replace(url.partition("?")[0], pgbouncer.url()))
    add(broker, queue="other")
    with caplog.at_level(logging.WARNING), broker.waiter(["queue:default"]) as waiter:
        while not caplog.records:
            waiter.wait(0.1)
        for _ in range(3):
            add(broker)
            assert heard(waiter, 20)
    assert len(caplog.records) == 1
    assert "pooler in transaction mode" in caplog.text
    broker.close()


def test_a_direct_url_for_listening_goes_past_the_pooler(pgbouncer: PgBouncer, url: str) -> None:
    direct = quote(url.partition("?")[0], safe="")
    broker = PostgresBroker(url.replace(url.partition("?")[0], pgbouncer.url()) + f"&listen={direct}")
    add(broker, queue="other")
    with broker.waiter(["queue:default"]) as waiter:
        add(broker)
        assert heard(waiter)
    broker.close()


def test_a_process_with_a_thousand_open_files_hears(broker: PostgresBroker) -> None:
    add(broker)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    with ExitStack() as files:
        files.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        for _ in range(1100):
            files.enter_context(open(os.devnull))
        with broker.waiter(["queue:default"]) as waiter:
            while not waiter.wait(None):  # the first looks are short
                add(broker)
            assert broker._wakes._listener.hears
        broker.close()


def test_a_call_that_comes_while_it_closes_leaves_no_thread_behind(
    broker: PostgresBroker, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for a waiter that has gone, and would be passed on."""
    with broker.waiter(["queue:default"]):
        pass
    listener = broker._wakes._listener
    [thread] = [each for each in threading.enumerate() if each.name == "backburner-postgres-listen"]
    passed_on = threading.Event()
    submit, close = listener._registrar.submit, listener._registrar.close

    def submitted(*args: Any) -> Any:
        found = submit(*args)
        passed_on.set()
        return found

    def closed() -> None:
        close()
        if thread.is_alive():
            sql(url, f"SELECT pg_notify('{listener.channel}', '999 queue:default')")
            assert passed_on.wait(30)

    monkeypatch.setattr(listener._registrar, "submit", submitted)
    monkeypatch.setattr(listener._registrar, "close", closed)
    broker.close()
    assert [each for each in threading.enumerate() if "backburner-postgres" in each.name] == []
