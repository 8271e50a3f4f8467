"""Enqueue in the caller's own transaction: the job is there if the caller's data is, never without it."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.orm import Session

from backburner import Backburner, ConfigError, QueueFull, State, events, lifecycle
from backburner.brokers.base import Beat, Bound, Claim
from backburner.errors import BrokerUnavailable, JobNotFound, LeaseLost
from tests.brokers.sqlite.conftest import ids, new_job

ISOLATION: list[dict[str, Any]] = [{}, {"isolation_level": None}, {"isolation_level": "IMMEDIATE"}]
if sys.version_info >= (3, 12):
    ISOLATION += [{"autocommit": False}, {"autocommit": True}]


@pytest.fixture
def app(path: Path) -> Iterator[Backburner]:
    app = Backburner(f"sqlite:///{path}")
    app.task(name="mail")(lambda user_id: None)
    app.enqueue("mail", 0)
    yield app
    app.close()


def connect(path: Path, **options: Any) -> Any:
    return closing(sqlite3.connect(path, timeout=0.1, **options))


def count(app: Backburner) -> int:
    return len(ids(app.broker))  # type: ignore[arg-type]


@pytest.mark.parametrize("options", ISOLATION, ids=str)
def test_a_commit_brings_the_job_and_a_rollback_leaves_none(
    app: Backburner, path: Path, options: dict[str, Any]
) -> None:
    task = app.tasks["mail"]
    with connect(path, **options) as own:
        own.execute("CREATE TABLE users (id)")
        own.commit()
        job = task.using(connection=own).enqueue(1)
        own.execute("INSERT INTO users VALUES (1)")
        assert count(app) == 1
        own.execute("ROLLBACK")
        assert count(app) == 1
        own.execute("BEGIN") if not own.in_transaction else None
        own.execute("INSERT INTO users VALUES (2)")
        job = task.using(connection=own).enqueue(2)
        own.execute("COMMIT")
    assert app.job(job.id).record.payload == b"[2]"
    assert count(app) == 2


async def test_it_works_on_an_event_loop_and_for_many(app: Backburner, path: Path) -> None:
    with connect(path) as own:
        task = app.tasks["mail"].using(connection=own)
        await task.aenqueue(1)
        await task.aenqueue_many([(number,) for number in range(1500)])
        own.commit()
    assert count(app) == 1502


def a_dict(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[str, Any]:
    return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}


@pytest.mark.parametrize("factory", [sqlite3.Row, a_dict])
def test_the_callers_row_factory_is_no_trouble(app: Backburner, path: Path, factory: Any) -> None:
    with connect(path) as own:
        own.row_factory = factory
        task = app.tasks["mail"].using(connection=own, idempotency_key="once")
        first, again = task.enqueue(1), task.enqueue(2)
        own.commit()
        assert own.row_factory is factory
    assert (again.id, again.duplicate) == (first.id, True)


def test_a_refused_enqueue_leaves_the_callers_work_as_it_was(app: Backburner, path: Path) -> None:
    bounds = {
        "a": Bound(queue="a", max_length=1, on_full="drop_oldest"),
        "b": Bound(queue="b", max_length=1),
    }
    broker = app.broker
    broker.run(broker.enqueue([new_job(id="oldest", queue="a"), new_job(queue="b")], {}))
    with connect(path) as own:
        own.execute("CREATE TABLE users (id)")
        own.execute("INSERT INTO users VALUES (1)")
        with pytest.raises(QueueFull):
            broker.run_on(own, broker.enqueue([new_job(queue="a"), new_job(queue="b")], bounds))
        own.commit()
        assert own.execute("SELECT id FROM users").fetchall() == [(1,)]
    assert count(app) == 3
    assert app.job("oldest").state == "queued"


def test_a_full_queue_that_blocks_does_not_hold_up_a_transaction(app: Backburner, path: Path) -> None:
    """While the transaction is open no worker can make room."""
    app.queue("default", max_length=1, on_full="block")
    filled: list[object] = []
    app.on(events.QueueFilled)(filled.append)
    with connect(path) as own, pytest.raises(QueueFull):
        app.tasks["mail"].using(connection=own).enqueue(1)
    assert len(filled) == 1


def test_a_database_without_the_tables_is_named(app: Backburner, path: Path, tmp_path: Path) -> None:
    with connect(tmp_path / "other.db") as own, pytest.raises(ConfigError, match=f"app's own file, {path}"):
        app.tasks["mail"].using(connection=own).enqueue(1)


def test_a_lock_that_another_holds_is_said(app: Backburner, path: Path) -> None:
    with connect(path, isolation_level=None) as holder, connect(path) as own:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(BrokerUnavailable, match="locked"):
            app.tasks["mail"].using(connection=own).enqueue(1)
        holder.execute("ROLLBACK")
        app.tasks["mail"].using(connection=own).enqueue(1)
        own.commit()
    assert count(app) == 2


def test_a_worker_that_waits_finds_a_job_of_a_callers_transaction(app: Backburner, path: Path) -> None:
    with app.broker.waiter(["queue:default"]) as waiter, connect(path) as own:
        app.tasks["mail"].using(connection=own).enqueue(1)
        own.commit()
        assert not waiter.wait(30), "nobody writes into its pipe, but it looks at the log"
    assert count(app) == 2


def test_who_lost_the_lease_cannot_commit_what_it_did(app: Backburner, path: Path) -> None:
    broker = app.broker
    broker.run(broker.heartbeat([Beat(worker="w1", lease=30, new=True)]))
    claim = Claim(worker="w1", queues=("default",), limit=1)
    [job] = broker.run(broker.exchange([], claim)).jobs
    settlement = lifecycle.succeeded(job, None, broker.now(), keep=60)
    broker.run(broker.exchange([lifecycle.released(job, broker.now())], None))
    with connect(path) as own:
        own.execute("CREATE TABLE effects (id)")
        own.execute("INSERT INTO effects VALUES (1)")
        with pytest.raises(LeaseLost, match="your transaction was undone"):
            broker.run_on(own, broker.complete(settlement))
        own.commit()
        assert own.execute("SELECT count(*) FROM effects").fetchone() == (0,)
    assert app.job(job.id).state is State.QUEUED


def test_a_job_that_completes_in_a_transaction_is_done_with_its_commit(app: Backburner, path: Path) -> None:
    broker = app.broker
    broker.run(broker.heartbeat([Beat(worker="w1", lease=30, new=True)]))
    claim = Claim(worker="w1", queues=("default",), limit=1)
    [job] = broker.run(broker.exchange([], claim)).jobs
    settlement = lifecycle.succeeded(job, b"7", broker.now(), keep=60)
    with connect(path) as own:
        broker.run_on(own, broker.complete(settlement))
        own.rollback()
        assert app.job(job.id).state is State.RUNNING
        broker.run_on(own, broker.complete(settlement))
        own.commit()
    assert app.job(job.id).result(timeout=0) == 7


@pytest.mark.parametrize("kind", ["connection", "session"])
def test_a_transaction_of_sqlalchemy_brings_the_job_or_leaves_none(
    app: Backburner, path: Path, kind: str
) -> None:
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    task = app.tasks["mail"]
    own: Any = engine.connect() if kind == "connection" else Session(engine)
    with own:
        undone = task.using(connection=own).enqueue(1)
        own.rollback()
        kept = task.using(connection=own).enqueue(2)
        assert count(app) == 1
        own.commit()
    engine.dispose()
    assert app.job(kept.id).record.payload == b"[2]"
    with pytest.raises(JobNotFound):
        app.job(undone.id)


def test_what_is_no_connection_is_named(app: Backburner) -> None:
    with pytest.raises(ConfigError, match=r"takes a sqlite3\.Connection, .* not builtins\.object"):
        app.tasks["mail"].using(connection=object()).enqueue(1)
