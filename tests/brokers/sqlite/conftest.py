"""A broker on a file, and what can be seen of it from outside and from inside."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import takewhile
from pathlib import Path
from tempfile import gettempdir

import pytest

from backburner.brokers.base import Beat, Claim, Filter
from backburner.brokers.sqlite.broker import SqliteBroker
from backburner.job import JobRecord, new_id
from backburner.testing import Clock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker(path: Path, clock: Clock) -> Iterator[SqliteBroker]:
    with closing(SqliteBroker(f"sqlite:///{path}", clock)) as broker:
        yield broker


def new_job(**fields: object) -> JobRecord:
    return JobRecord(**{"id": new_id(), "task": "t", **fields})  # type: ignore[arg-type]


def add(broker: SqliteBroker, **fields: object) -> JobRecord:
    return broker.run(broker.enqueue([new_job(**fields)], {}))[0]


def take(broker: SqliteBroker, limit: int = 1) -> list[JobRecord]:
    broker.run(broker.heartbeat([Beat(worker="w", lease=60, new=True)]))
    return broker.run(broker.exchange([], Claim(worker="w", queues=("default",), limit=limit))).jobs


def ids(broker: SqliteBroker) -> set[str]:
    return {job.id for job in broker.run(broker.find(Filter(limit=10**9)))}


def connection(broker: SqliteBroker) -> sqlite3.Connection:
    """The broker's own connection, opened if need be."""
    broker.run(broker.get(["nobody"]))
    found = broker._database._connection
    assert found is not None
    return found


@contextmanager
def traced(broker: SqliteBroker) -> Iterator[list[str]]:
    """Every statement that SQLite performs meanwhile, by its first word."""
    statements: list[str] = []
    own = connection(broker)
    own.set_trace_callback(lambda text: statements.append(first_word(text)))
    try:
        yield statements
    finally:
        own.set_trace_callback(None)


def first_word(text: str) -> str:
    lines = (line for line in text.splitlines() if line and not line.startswith("--"))
    return next(lines).split()[0]


@pytest.fixture
def as_somebody(tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Become a user without special rights, so that file permissions count; root has to give up its own."""
    was = os.geteuid()

    def become() -> None:
        if was == 0:
            for folder in takewhile(lambda each: each != Path(gettempdir()), (tmp_path, *tmp_path.parents)):
                os.chmod(folder, 0o755)
            os.seteuid(65534)

    yield become
    os.seteuid(was)
