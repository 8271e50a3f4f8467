"""Enqueue and complete in the caller's own transaction, on every kind of connection.

The job is there if the caller's data is, never without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from typing import Any, NamedTuple

import asyncpg
import psycopg
import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from backburner import lifecycle
from backburner.brokers.base import Beat, Bound, Operation
from backburner.brokers.postgres.broker import PostgresBroker
from backburner.errors import ConfigError, LeaseLost, QueueFull, SchemaError
from backburner.job import JobRecord
from backburner.lifecycle import Settlement, State
from tests.brokers.postgres.conftest import add, ids, new_job, sql, take


class Own(NamedTuple):
    """A caller's connection in an open transaction, and what a caller does with it."""

    connection: Any
    execute: Callable[[str], Awaitable[Any]]
    commit: Callable[[], Awaitable[Any]]
    rollback: Callable[[], Awaitable[Any]]


def plain(url: str, driver: str = "") -> str:
    return url.partition("?")[0].replace("postgresql", f"postgresql{driver}")


def sync(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    async def call(*arguments: Any) -> Any:
        return function(*arguments)

    return call


@asynccontextmanager
async def by_psycopg(url: str) -> AsyncIterator[Own]:
    with psycopg.connect(plain(url)) as own:
        yield Own(own, sync(own.execute), sync(own.commit), sync(own.rollback))


@asynccontextmanager
async def by_psycopg_with_dict_rows(url: str) -> AsyncIterator[Own]:
    with psycopg.connect(plain(url), row_factory=psycopg.rows.dict_row) as own:
        yield Own(own, sync(own.execute), sync(own.commit), sync(own.rollback))


@asynccontextmanager
async def by_psycopg_with_raw_cursors(url: str) -> AsyncIterator[Own]:
    with psycopg.connect(plain(url), cursor_factory=psycopg.RawCursor) as own:
        yield Own(own, sync(own.execute), sync(own.commit), sync(own.rollback))


@asynccontextmanager
async def by_sqlalchemy(url: str, driver: str = "+psycopg") -> AsyncIterator[Own]:
    with create_engine(plain(url, driver), poolclass=NullPool).connect() as own:
        yield Own(own, sync(lambda sql: own.execute(text(sql))), sync(own.commit), sync(own.rollback))


@asynccontextmanager
async def by_sqlalchemy_session(url: str) -> AsyncIterator[Own]:
    with Session(create_engine(plain(url, "+psycopg"), poolclass=NullPool)) as own:
        yield Own(own, sync(lambda sql: own.execute(text(sql))), sync(own.commit), sync(own.rollback))


@asynccontextmanager
async def by_async_psycopg(url: str) -> AsyncIterator[Own]:
    async with await psycopg.AsyncConnection.connect(plain(url)) as own:
        yield Own(own, own.execute, own.commit, own.rollback)


@asynccontextmanager
async def by_async_psycopg_with_raw_cursors(url: str) -> AsyncIterator[Own]:
    raw = psycopg.AsyncRawCursor
    async with await psycopg.AsyncConnection.connect(plain(url), cursor_factory=raw) as own:
        yield Own(own, own.execute, own.commit, own.rollback)


@asynccontextmanager
async def by_asyncpg(url: str) -> AsyncIterator[Own]:
    own = await asyncpg.connect(plain(url))
    transaction = own.transaction()
    await transaction.start()
    try:
        yield Own(own, own.execute, transaction.commit, transaction.rollback)
    finally:
        await own.close()


@asynccontextmanager
async def by_asyncpg_pool(url: str) -> AsyncIterator[Own]:
    async with asyncpg.create_pool(plain(url), min_size=1, max_size=1) as pool, pool.acquire() as own:
        transaction = own.transaction()
        await transaction.start()
        yield Own(own, own.execute, transaction.commit, transaction.rollback)


@asynccontextmanager
async def by_async_sqlalchemy(url: str, driver: str = "+asyncpg") -> AsyncIterator[Own]:
    engine = create_async_engine(plain(url, driver), poolclass=NullPool)
    async with engine.connect() as own:
        yield Own(own, lambda sql: own.execute(text(sql)), own.commit, own.rollback)
    await engine.dispose()


@asynccontextmanager
async def by_async_sqlalchemy_session(url: str, driver: str = "+asyncpg") -> AsyncIterator[Own]:
    engine = create_async_engine(plain(url, driver), poolclass=NullPool)
    async with AsyncSession(engine) as own:
        yield Own(own, lambda sql: own.execute(text(sql)), own.commit, own.rollback)
    await engine.dispose()


def over_psycopg2(url: str) -> AbstractAsyncContextManager[Own]:
    return by_sqlalchemy(url, "+psycopg2")


def over_psycopg(url: str) -> AbstractAsyncContextManager[Own]:
    return by_async_sqlalchemy_session(url, "+psycopg")


Open = Callable[[str], AbstractAsyncContextManager[Own]]
SYNC: dict[str, Open] = {
    "psycopg": by_psycopg,
    "psycopg, rows as dicts": by_psycopg_with_dict_rows,
    "psycopg, raw cursors": by_psycopg_with_raw_cursors,
    "SQLAlchemy": by_sqlalchemy,
    "SQLAlchemy over psycopg2": over_psycopg2,
    "SQLAlchemy session": by_sqlalchemy_session,
}
ASYNC: dict[str, Open] = {
    "psycopg async": by_async_psycopg,
    "psycopg async, raw cursors": by_async_psycopg_with_raw_cursors,
    "asyncpg": by_asyncpg,
    "asyncpg pool": by_asyncpg_pool,
    "SQLAlchemy async": by_async_sqlalchemy,
    "SQLAlchemy async session": by_async_sqlalchemy_session,
    "SQLAlchemy async session over psycopg": over_psycopg,
}
WAYS = [
    *((name, way) for name in SYNC for way in ("run_on", "arun_on")),
    *((name, "arun_on") for name in ASYNC),
]


@pytest.fixture(params=WAYS, ids=" by ".join)
def way(request: pytest.FixtureRequest) -> tuple[Open, str]:
    name, method = request.param
    return {**SYNC, **ASYNC}[name], method


async def perform(broker: PostgresBroker, method: str, own: Own, operation: Operation[Any]) -> Any:
    if method == "run_on":
        return broker.run_on(own.connection, operation)
    return await broker.arun_on(own.connection, operation)


@pytest.fixture
def broker(broker: PostgresBroker, url: str) -> PostgresBroker:
    add(broker, queue="other")
    sql(url, f"CREATE TABLE {users(broker)} (id int)")
    return broker


def users(broker: PostgresBroker) -> str:
    return broker.url.partition("schema=")[2] + ".users"


def count(broker: PostgresBroker) -> int:
    found: int = sql(broker.url, f"SELECT count(*) FROM {users(broker)}")[0][0]
    return found


async def test_a_commit_brings_the_job_and_a_rollback_leaves_none(
    broker: PostgresBroker, url: str, way: tuple[Open, str]
) -> None:
    open_own, method = way
    before = ids(broker)
    jobs = [
        new_job(payload=b'["\\u0000 \xc3\xa9"]', key="once", delay=0.0),
        new_job(run_at=broker.now() + 60),
    ]
    async with open_own(url) as own:
        await own.execute(f"INSERT INTO {users(broker)} VALUES (1)")
        assert await perform(broker, method, own, broker.enqueue(jobs, {})) == jobs
        assert ids(broker) == before
        await own.rollback()
    assert (ids(broker), count(broker)) == (before, 0)
    async with open_own(url) as own:
        await perform(broker, method, own, broker.enqueue(jobs, {}))
        again = await perform(broker, method, own, broker.enqueue([new_job(key="once")], {}))
        await own.execute(f"INSERT INTO {users(broker)} VALUES (2)")
        await own.commit()
    assert again[0].id == jobs[0].id
    assert (ids(broker) - before, count(broker)) == ({job.id for job in jobs}, 1)
    [found] = broker.run(broker.get([jobs[0].id]))
    assert (found.payload, found.state) == (jobs[0].payload, State.QUEUED)


async def test_the_commit_wakes_a_worker(broker: PostgresBroker, url: str, way: tuple[Open, str]) -> None:
    open_own, method = way
    with broker.waiter(["queue:default"]) as waiter:
        async with open_own(url) as own:
            await perform(broker, method, own, broker.enqueue([new_job()], {}))
            assert not await waiter.wait_async(0.1)
            await own.commit()
        assert await asyncio.wait_for(heard(waiter), 30)


async def heard(waiter: Any) -> bool:
    while not await waiter.wait_async(5):
        pass
    return True


def completion(job: JobRecord, broker: PostgresBroker) -> Settlement:
    return lifecycle.succeeded(job, b'"paid"', broker.now(), keep=60, follow_ups=(new_job(queue="next"),))


async def test_a_job_completes_with_the_callers_commit(
    broker: PostgresBroker, url: str, way: tuple[Open, str]
) -> None:
    open_own, method = way
    add(broker)
    [job] = take(broker)
    async with open_own(url) as own:
        await perform(broker, method, own, broker.complete(completion(job, broker)))
        await own.rollback()
    assert broker.run(broker.get([job.id])) == [job]
    async with open_own(url) as own:
        await perform(broker, method, own, broker.complete(completion(job, broker)))
        await own.execute(f"INSERT INTO {users(broker)} VALUES (1)")
        await own.commit()
    [found] = broker.run(broker.get([job.id]))
    assert (found.state, found.result, count(broker)) == (State.SUCCEEDED, b'"paid"', 1)
    assert [info.name for info in broker.run(broker.queues())] == ["default", "next", "other"]


async def test_a_refused_completion_leaves_a_transaction_that_cannot_be_committed(
    broker: PostgresBroker, url: str, way: tuple[Open, str]
) -> None:
    open_own, method = way
    add(broker)
    [stale] = take(broker)
    broker.run(broker.exchange([lifecycle.released(stale, broker.now())], None))
    [current] = take(broker, worker="w2")
    async with open_own(url) as own:
        await own.execute(f"INSERT INTO {users(broker)} VALUES (1)")
        with pytest.raises(LeaseLost):
            await perform(broker, method, own, broker.complete(completion(stale, broker)))
        with pytest.raises(Exception, match=r"(?i)aborted|transaction"):
            await own.execute(f"INSERT INTO {users(broker)} VALUES (2)")
        with suppress(asyncpg.PostgresError):  # the drivers differ in whether they say so once more
            await own.commit()
    assert count(broker) == 0
    assert broker.run(broker.get([stale.id])) == [current]


def test_a_refused_completion_within_a_savepoint_undoes_what_was_done_in_it(
    broker: PostgresBroker, url: str
) -> None:
    add(broker)
    [stale] = take(broker)
    broker.run(broker.exchange([lifecycle.released(stale, broker.now())], None))
    with psycopg.connect(url.partition("?")[0]) as own:
        own.execute(f"INSERT INTO {users(broker)} VALUES (1)".encode())
        with pytest.raises(LeaseLost), own.transaction():
            own.execute(f"INSERT INTO {users(broker)} VALUES (2)".encode())
            broker.run_on(own, broker.complete(completion(stale, broker)))
    assert count(broker) == 1


def test_a_full_queue_leaves_the_callers_transaction_in_order(broker: PostgresBroker, url: str) -> None:
    bound = {"default": Bound(queue="default", max_length=1)}
    with psycopg.connect(plain(url)) as own:
        broker.run_on(own, broker.enqueue([new_job()], bound))
        with pytest.raises(QueueFull):
            broker.run_on(own, broker.enqueue([new_job()], bound))
        own.execute(f"INSERT INTO {users(broker)} VALUES (1)".encode())
    assert (count(broker), len(take(broker, 10))) == (1, 1)


@contextmanager
def autocommit(url: str) -> Iterator[Any]:
    with psycopg.connect(plain(url), autocommit=True) as own:
        yield own


@contextmanager
def sqlalchemy_autocommit(url: str) -> Iterator[Any]:
    with create_engine(
        plain(url, "+psycopg"), isolation_level="AUTOCOMMIT", poolclass=NullPool
    ).connect() as own:
        yield own


@pytest.mark.parametrize("opened", [autocommit, sqlalchemy_autocommit])
def test_without_a_transaction_the_promise_would_be_empty(
    broker: PostgresBroker, url: str, opened: Any
) -> None:
    before = ids(broker)
    with opened(url) as own, pytest.raises(ConfigError, match="no transaction is open"):
        broker.run_on(own, broker.enqueue([new_job()], {}))
    assert ids(broker) == before


async def test_asyncpg_without_a_transaction(broker: PostgresBroker, url: str) -> None:
    own = await asyncpg.connect(plain(url))
    with pytest.raises(ConfigError, match="no transaction is open"):
        await broker.arun_on(own, broker.enqueue([new_job()], {}))
    await own.close()


def test_an_autocommit_connection_may_open_a_transaction(broker: PostgresBroker, url: str) -> None:
    job = new_job()
    with autocommit(url) as own, own.transaction():
        broker.run_on(own, broker.enqueue([job], {}))
    assert job.id in ids(broker)


@pytest.mark.parametrize("name", ASYNC)
async def test_an_asynchronous_connection_in_a_sync_call_says_what_to_do(
    broker: PostgresBroker, url: str, name: str
) -> None:
    async with ASYNC[name](url) as own:
        with pytest.raises(ConfigError, match="aenqueue"):
            broker.run_on(own.connection, broker.enqueue([new_job()], {}))


async def test_anything_else_is_refused_with_what_is_accepted(broker: PostgresBroker) -> None:
    for connection in (object(), "postgresql://", None):
        with pytest.raises(ConfigError, match=r"psycopg\.Connection, sqlalchemy"):
            broker.run_on(connection, broker.enqueue([new_job()], {}))
        with pytest.raises(ConfigError, match="asyncpg"):
            await broker.arun_on(connection, broker.enqueue([new_job()], {}))


def test_a_database_without_our_schema_says_so(broker: PostgresBroker, url: str) -> None:
    sql(url, "CREATE DATABASE elsewhere")
    try:
        with (
            psycopg.connect(f"{plain(url).rpartition('/')[0]}/elsewhere") as own,
            pytest.raises(SchemaError, match="backburner migrate"),
        ):
            broker.run_on(own, broker.enqueue([new_job()], {}))
    finally:
        sql(url, "DROP DATABASE elsewhere WITH (FORCE)")


def test_an_open_transaction_keeps_nobody_waiting(broker: PostgresBroker, url: str) -> None:
    """Not the producers and the workers of the same queue and task."""
    add(broker)
    [first] = take(broker)
    with psycopg.connect(plain(url)) as own:
        broker.run_on(own, broker.enqueue([new_job(), new_job(run_at=1.0)], {}))
        broker.run_on(own, broker.complete(completion(first, broker)))
        add(broker)
        add(broker, run_at=1.0)
        jobs = take(broker, 10)
        assert len(jobs) == 2
        broker.run(
            broker.exchange([lifecycle.succeeded(job, None, broker.now(), keep=60) for job in jobs[:1]], None)
        )
        broker.run(broker.exchange([lifecycle.released(job, broker.now()) for job in jobs[1:]], None))
        broker.run(broker.stage(10))
        broker.run(broker.prune(10, 10))


def test_drivers_that_are_not_installed_are_not_needed(broker: PostgresBroker, url: str) -> None:
    statements: list[str] = []
    engine = create_engine(plain(url, "+psycopg"), poolclass=NullPool)
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    with engine.begin() as own:
        broker.run_on(own, broker.enqueue([new_job() for _ in range(1000)], {}))
    assert len(statements) == 1, "a thousand jobs are one statement"


@pytest.mark.parametrize(("how", "state"), [("commit", "succeeded"), ("rollback", "queued")])
def test_a_machine_that_is_lost_before_its_commit_delays_the_rescue_of_no_other_job(
    broker: PostgresBroker, url: str, how: str, state: str
) -> None:
    for _ in range(3):
        add(broker)
    unsure, *others = take(broker, 3)
    with psycopg.connect(plain(url)) as lost:  # the server takes it for alive
        broker.run_on(lost, broker.complete(completion(unsure, broker)))
        broker.run(broker.heartbeat([Beat(worker="w1", lease=0.0)]))
        rescued = broker.run(broker.rescue(100, 3))
        assert {each.job.id for each in rescued} == {job.id for job in others}
        getattr(lost, how)()
    broker.run(broker.rescue(100, 3))
    [found] = broker.run(broker.get([unsure.id]))
    assert (found.state, found.token) == (state, 1)
