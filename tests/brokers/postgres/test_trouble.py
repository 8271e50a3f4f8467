"""What goes wrong with a server: one clear error that says what to do, nothing lost, and then it goes on."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest

from backburner import lifecycle
from backburner.brokers import connect
from backburner.brokers.base import Claim
from backburner.brokers.postgres.broker import PostgresBroker
from backburner.brokers.postgres.database import CONNECTIONS
from backburner.errors import BrokerError, BrokerUnavailable, ConfigError
from backburner.job import JobRecord
from backburner.lifecycle import State
from tests.brokers.postgres.conftest import add, ids, new_job, schema_of, sql, take
from tests.servers.disk import Disk, small_disk
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy


@pytest.fixture
def impatient(url: str) -> Iterator[PostgresBroker]:
    broker = PostgresBroker(f"{url}&patience=0.3")
    yield broker
    broker.close()


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    with Proxy(postgres_server.port) as proxy:
        yield proxy


@pytest.fixture
def far(url: str, proxy: Proxy) -> Iterator[PostgresBroker]:
    """The same store by way of the proxy."""
    broker = PostgresBroker(proxy.url(url))
    yield broker
    broker.close()


# Answers that never come ----------------------------------------------------------------------------


def test_an_enqueue_whose_answer_was_lost_makes_one_job(far: PostgresBroker, proxy: Proxy) -> None:
    add(far)
    proxy.cut_replies(2, b"enqueue(")
    jobs = [new_job(), new_job(key="once")]
    assert [job.id for job in far.run(far.enqueue(jobs, {}))] == [job.id for job in jobs]
    assert proxy.replies_cut == 2
    assert len(take(far, 10)) == 3


def test_fresh_jobs_whose_answer_was_lost_are_stored_once(far: PostgresBroker, proxy: Proxy) -> None:
    add(far)
    proxy.cut_replies(1, b"enqueue_fresh(")
    jobs = [new_job(), new_job(delay=60)]
    assert [job.id for job in far.run(far.enqueue(jobs, {}))] == [job.id for job in jobs]
    assert proxy.replies_cut == 1
    assert len(ids(far)) == 3


def test_an_exchange_whose_answer_was_lost_is_recovered(far: PostgresBroker, proxy: Proxy) -> None:
    far.run(far.enqueue([new_job() for _ in range(4)], {}))
    old = take(far, 2)
    settlements = [lifecycle.succeeded(job, None, far.now(), keep=60) for job in old]
    proxy.cut_replies(1, b"exchange_past_locks(")
    with pytest.raises(BrokerUnavailable):
        far.run(far.exchange(settlements, Claim(worker="w1", queues=("default",), limit=2)))
    found = far.run(far.recover("w1", settlements, [job.id for job in old]))
    assert (len(found.jobs), found.applied) == (2, settlements)


def test_connections_that_are_cut_between_two_calls_are_not_noticed(
    far: PostgresBroker, proxy: Proxy
) -> None:
    add(far)
    [job] = take(far)
    proxy.cut()
    assert far.run(far.exchange([lifecycle.succeeded(job, None, far.now(), keep=60)], None)).lost == []


def test_a_network_that_says_nothing_is_no_hang(
    far: PostgresBroker, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backburner.brokers.postgres.database.ANSWER", 1.0)
    add(far)
    proxy.stall()
    with pytest.raises(BrokerUnavailable, match=r"did not answer in time|cannot reach"):
        take(far)
    proxy.resume()
    assert len(take(far)) == 1


def test_a_frozen_server_is_no_hang(
    impatient: PostgresBroker, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backburner.brokers.postgres.database.ANSWER", 1.0)
    add(impatient)
    postgres_server.freeze()
    with pytest.raises(BrokerUnavailable, match="did not answer in time"):
        add(impatient)
    postgres_server.thaw()
    add(impatient)


# The server goes and comes back ---------------------------------------------------------------------


def test_a_call_outlives_a_restart(url: str, postgres_server: PostgresServer) -> None:
    with closing(PostgresBroker(f"{url}&patience=60")) as broker, ThreadPoolExecutor(1) as thread:
        first = add(broker)
        postgres_server.kill()
        call = thread.submit(add, broker)
        postgres_server.start()  # which recovers from its log first: on a busy machine for many seconds
        assert {first.id, call.result(60).id} == ids(broker)


def test_a_pooler_that_loses_the_server_in_the_middle_of_a_call(
    proxy: Proxy, broker: PostgresBroker, url: str
) -> None:
    """It says so in an error of its own. An enqueue is sent again; whether a claim was done nobody knows."""
    add(broker)
    take(broker)
    with PgBouncer(None, proxy) as pooler, ThreadPoolExecutor(1) as thread:
        far = PostgresBroker(url.replace(url.partition("?")[0], pooler.url()))
        claim = Claim(worker="w1", queues=("default",), limit=1)
        add(far)
        calls = [lambda: add(far).id, lambda: str(far.run(far.exchange([], claim)))]
        for call in calls:
            with psycopg.connect(url.partition("?")[0]) as own:
                own.execute(f"LOCK TABLE {schema_of(url)}.jobs".encode())
                called = thread.submit(call)
                while not sql(url, "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
                    pass
                proxy.cut()
            if call is calls[0]:
                assert called.result() in ids(broker)
            else:
                with pytest.raises(BrokerUnavailable, match="server conn crashed"):
                    called.result()
        far.close()


def test_a_server_that_is_away_is_unavailable_within_the_patience(
    impatient: PostgresBroker, postgres_server: PostgresServer
) -> None:
    add(impatient)
    postgres_server.stop()
    with pytest.raises(BrokerUnavailable, match=r"cannot reach PostgreSQL at 127.0.0.1"):
        add(impatient)
    postgres_server.start()
    assert len(take(impatient, 10)) == 1


def test_a_session_that_an_administrator_ends_is_replaced(broker: PostgresBroker, url: str) -> None:
    add(broker)
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'backburner'"
    sql(url, others)
    assert len(take(broker)) == 1


def test_a_waiter_hears_again_after_a_restart(
    broker: PostgresBroker, postgres_server: PostgresServer
) -> None:
    add(broker, queue="other")
    with broker.waiter(["queue:default"]) as waiter:
        postgres_server.restart()
        assert any(waiter.wait(5) for _ in range(6)), "it is called once: something may have been missed"
        add(broker)
        assert any(waiter.wait(5) for _ in range(6))


# What the server refuses ----------------------------------------------------------------------------


def test_a_statement_timeout_is_an_error_that_says_so(url: str, broker: PostgresBroker) -> None:
    add(broker)
    [job] = take(broker)
    slow_words = pytest.raises(BrokerUnavailable, match="longer than statement_timeout: raise it")
    with slow_role(url, "statement_timeout = '50ms'") as slow, locked(url), slow_words:
        slow.run(slow.note(job, b"1", None))
    assert broker.run(broker.note(job, b"1", None))


def test_a_lock_that_is_held_for_long_says_who_to_ask(url: str, broker: PostgresBroker) -> None:
    [job] = [add(broker), *take(broker)][1:]
    sql(url, f"ALTER FUNCTION {schema_of(url)}.cancel SET lock_timeout = '50ms'")
    with locked(url), pytest.raises(BrokerUnavailable, match=r"transaction that has it.*doctor"):
        broker.run(broker.cancel([job.id], "enough", 60))
    assert broker.run(broker.cancel([job.id], "enough", 60)) == [job.id]


def test_too_many_connections(url: str, broker: PostgresBroker) -> None:
    add(broker)
    with slow_role(url, "CONNECTION LIMIT 0", setting=False) as crowded:
        with pytest.raises(BrokerUnavailable, match=r"too many connections.*raise max_connections"):
            add(crowded)
        sql(url, "ALTER ROLE slow CONNECTION LIMIT 5")
        add(crowded)


def test_a_server_that_takes_no_writes(url: str, broker: PostgresBroker) -> None:
    add(broker)
    with slow_role(url, "default_transaction_read_only = on") as reader:
        with pytest.raises(BrokerUnavailable, match=r"takes no writes.*name the primary"):
            add(reader)
        assert len(ids(reader)) == 1


def test_a_role_without_rights(url: str, broker: PostgresBroker) -> None:
    add(broker)
    refused = pytest.raises(BrokerError, match="lacks a right")
    with slow_role(url, "work_mem = '4MB'", superuser=False) as stranger, refused:
        add(stranger)


class slow_role:  # noqa: N801 - reads as what it gives
    """A broker whose role has that setting."""

    def __init__(self, url: str, words: str, *, setting: bool = True, superuser: bool = True) -> None:
        self.url = url
        kind = "SUPERUSER" if superuser and setting else ""
        sql(url, f"CREATE ROLE slow LOGIN {kind}; ALTER ROLE slow {'SET' if setting else ''} {words}")
        if not setting:
            sql(url, f"GRANT USAGE ON SCHEMA {schema_of(url)} TO slow")
            sql(url, f"GRANT ALL ON ALL TABLES IN SCHEMA {schema_of(url)} TO slow")
        self.broker = PostgresBroker(url.replace("postgres@", "slow@") + "&patience=0.3")

    def __enter__(self) -> PostgresBroker:
        return self.broker

    def __exit__(self, *_: object) -> None:
        self.broker.close()
        sql(self.url, "DROP OWNED BY slow; DROP ROLE slow")


class locked:  # noqa: N801 - reads as what it does
    """All stored jobs are locked by a transaction that stays open."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url.partition("?")[0])
        self.statement = f"UPDATE {schema_of(url)}.jobs SET task = task"

    def __enter__(self) -> None:
        self.connection.execute(self.statement.encode())

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def test_a_wrong_password(tmp_path: Path) -> None:
    with PostgresServer(tmp_path, password_encryption="scram-sha-256") as server:
        sql(server.url(), "CREATE ROLE app LOGIN PASSWORD 'right' SUPERUSER")
        hba = server.data / "pg_hba.conf"
        hba.write_text("host all app 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
        server.restart()
        address = server.url().replace("postgres@", "app:{}@")
        right = PostgresBroker(address.format("right"))
        add(right)
        right.close()
        for password in ("wrong", ""):
            wrong = PostgresBroker(address.format(password))
            with pytest.raises(BrokerError, match="refused the user or the password: correct them") as caught:
                add(wrong)
            assert not isinstance(caught.value, BrokerUnavailable)
            assert "wrong@" not in str(caught.value)


@pytest.fixture
def disk(postgres_server: PostgresServer) -> Iterator[Disk]:
    """Where the server's account may go."""
    with small_disk(postgres_server.folder / "small", "16m") as disk:
        yield disk


def test_a_full_disk(
    disk: Disk, postgres_server: PostgresServer, url: str, impatient: PostgresBroker
) -> None:
    """Nothing of the batch is stored, and the jobs that were stay."""
    first = add(impatient)
    inner = disk.folder / "inner"
    inner.mkdir()
    if postgres_server.user:
        shutil.chown(inner, postgres_server.user)
    sql(url, f"CREATE TABLESPACE small LOCATION '{inner}'")
    sql(url, f"ALTER TABLE {schema_of(url)}.jobs SET TABLESPACE small")
    noise = [os.urandom(100_000).hex().encode() for _ in range(10)]
    last: list[JobRecord] = []
    with pytest.raises(BrokerUnavailable, match="no disk space left: free some; nothing was stored"):
        for _ in range(100):
            last = [new_job(payload=b'"%s"' % each) for each in noise]
            impatient.run(impatient.enqueue(last, {}))
    assert impatient.run(impatient.get([job.id for job in last])) == []
    assert [job.id for job in take(impatient)] == [first.id]
    sql(url, f"ALTER TABLE {schema_of(url)}.jobs SET TABLESPACE pg_default")
    sql(url, "DROP TABLESPACE small")
    impatient.run(impatient.enqueue(last, {}))


WRONG = {
    "database": ("/postgres?", "/nowhere?", "no such database"),
    "user": ("postgres@", "nobody@", "nobody"),
    "TLS": ("?", "?sslmode=require&", "no encrypted connection.*sslmode"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_address_needs_a_person(url: str, what: str) -> None:
    old, new, message = WRONG[what]
    broker = PostgresBroker(url.replace(old, new))
    began = time.monotonic()
    with pytest.raises(BrokerError, match=message) as caught:
        add(broker)
    assert not isinstance(caught.value, BrokerUnavailable)
    assert time.monotonic() - began < 5, "it is not tried again and again"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("schema=a-b", "no name for a schema"),
        ("patience=soon", "no number of seconds"),
        ("shema=x", "Backburner's own parameters are schema, patience and listen"),
        ("listen=nonsense", "libpq cannot read"),
    ],
)
def test_a_url_that_makes_no_sense(query: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        connect(f"postgresql://localhost/x?{query}")


def test_a_server_that_is_too_old(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backburner.brokers.postgres.schema.OLDEST_SERVER", 990000)
    with pytest.raises(BrokerError, match="99 is the oldest that will do: upgrade it"):
        add(PostgresBroker(url))


def test_a_database_in_another_encoding(url: str) -> None:
    sql(url, "CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(BrokerError, match="encoded in LATIN1: create one with"):
        add(PostgresBroker(url.replace("/postgres?", "/latin?")))
    sql(url, "DROP DATABASE latin")


@pytest.mark.parametrize("level", ["repeatable%5C%20read", "serializable"])
def test_a_role_with_another_isolation_level(url: str, level: str) -> None:
    """Two claims at once would fail, and a floor might rise above a job that was not seen."""
    broker = PostgresBroker(f"{url}&options=-cdefault_transaction_isolation%3D{level}")
    with pytest.raises(BrokerError, match=r"ALTER ROLE .* SET default_transaction_isolation"):
        add(broker)
    assert "ALTER ROLE" in broker.checkup()[0].text


# Threads, loops and interruptions -------------------------------------------------------------------


class Stop(Exception):
    """Thrown into a thread, as a time limit is."""


def interrupt(thread: threading.Thread) -> None:
    import ctypes

    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Stop)
    )


def test_a_thread_that_is_interrupted_in_a_call_spoils_nobodys_connection(
    broker: PostgresBroker, url: str
) -> None:
    [job] = [add(broker), *take(broker)][1:]
    seen: list[BaseException] = []

    def report() -> None:
        try:
            broker.run(broker.note(job, b"1", None))
        except (Stop, BrokerError) as error:
            seen.append(error)

    with locked(url):
        thread = threading.Thread(target=report)
        thread.start()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        while not sql(url, waits)[0][0]:
            pass
        interrupt(thread)
    thread.join(30)
    assert not thread.is_alive()
    assert [type(error) for error in seen] == [Stop]
    assert {add(broker).id for _ in range(20)} < ids(broker)


def test_a_thread_that_is_interrupted_while_all_connections_are_busy_takes_none_away(
    broker: PostgresBroker,
) -> None:
    add(broker)
    room = broker._database._room
    for _ in range(CONNECTIONS):
        room.get()

    def wait_for_one() -> None:
        with suppress(Stop):
            add(broker)

    thread = threading.Thread(target=wait_for_one)
    thread.start()
    while sys._current_frames()[thread.ident or 0].f_code.co_name != "_once":
        pass
    interrupt(thread)
    for _ in range(CONNECTIONS):
        room.put(None)
    thread.join(30)
    assert room.qsize() == CONNECTIONS


async def test_what_was_cancelled_is_completed_all_the_same(broker: PostgresBroker) -> None:
    job = new_job()
    call = asyncio.ensure_future(broker.arun(broker.enqueue([job], {})))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.to_thread(broker.close)
    assert ids(broker) == {job.id}


def test_more_threads_than_connections(url: str) -> None:
    broker = PostgresBroker(f"{url}&application_name=crowd")
    add(broker)
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'crowd'"
    with ThreadPoolExecutor(40) as threads:
        jobs = list(threads.map(lambda _: add(broker), range(200)))
        assert sql(url, sessions)[0][0] <= 10
    assert {job.id for job in jobs} < ids(broker)
    broker.close()


def test_two_workers_that_exchange_at_once_do_not_wait_for_each_other(url: str) -> None:
    brokers = [PostgresBroker(url) for _ in range(2)]
    brokers[0].run(brokers[0].enqueue([new_job() for _ in range(1000)], {}))
    taken = [take(broker, 10, worker) for broker, worker in zip(brokers, ("w1", "w2"), strict=True)]

    def work(broker: PostgresBroker, worker: str, jobs: list[JobRecord]) -> int:
        claim, count, locked = Claim(worker=worker, queues=("default",), limit=10), 0, list[JobRecord]()
        while jobs or locked:
            count += len(jobs)
            settlements = [lifecycle.succeeded(job, None, broker.now(), keep=86400) for job in jobs + locked]
            answer = broker.run(broker.exchange(settlements, claim))
            jobs, locked = answer.jobs, [each.job for each in settlements if each.job.id in answer.locked]
        return count

    sql(url, f"ALTER FUNCTION {schema_of(url)}.exchange_past_locks SET lock_timeout = '1s'")
    with ThreadPoolExecutor(2) as threads:
        counts = list(threads.map(work, brokers, ("w1", "w2"), taken))
    assert sum(counts) == 1000
    assert brokers[0].run(brokers[0].queues())[0].counts == {State.SUCCEEDED: 1000}
    for broker in brokers:
        broker.close()


def test_a_role_that_is_not_there_is_not_taken_for_a_database(url: str) -> None:
    stranger = PostgresBroker(url.replace("postgres@", "nobody_of_that_name@"))
    with pytest.raises(BrokerError, match="refused the user or the password: correct them in the URL"):
        stranger.run(stranger.queues())
    stranger.close()
