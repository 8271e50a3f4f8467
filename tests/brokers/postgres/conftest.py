"""A schema of its own for each test, on the shared server."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from backburner.brokers.base import Beat, Broker, Claim, Filter
from backburner.brokers.postgres.broker import PostgresBroker
from backburner.job import FRESH, JobRecord, new_id
from tests.servers.postgres import PostgresServer

_numbers = itertools.count()


@pytest.fixture
def url(postgres_server: PostgresServer) -> Iterator[str]:
    schema = f"test_{os.getpid()}_{next(_numbers)}"
    yield f"{postgres_server.url()}?schema={schema}"
    sql(postgres_server.url(), f"DROP SCHEMA IF EXISTS {schema} CASCADE")


@pytest.fixture
def broker(url: str) -> Iterator[PostgresBroker]:
    broker = PostgresBroker(url)
    yield broker
    broker.close()


def sql(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Execute it beside the broker, and commit."""
    with psycopg.connect(url.partition("?")[0], autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def schema_of(url: str) -> str:
    return url.partition("schema=")[2].partition("&")[0]


def new_job(**fields: Any) -> JobRecord:
    fresh = {} if "id" in fields else {"id": new_id(), "locator": FRESH}
    return JobRecord(**{"task": "t", **fresh, **fields})


def add(broker: Broker, **fields: Any) -> JobRecord:
    return broker.run(broker.enqueue([new_job(**fields)], {}))[0]


def ids(broker: Broker) -> set[str]:
    return {job.id for job in broker.run(broker.find(Filter(limit=100_000)))}


def take(broker: Broker, count: int = 1, worker: str = "w1") -> list[JobRecord]:
    broker.run(broker.heartbeat([Beat(worker=worker, lease=60, new=True)]))
    return broker.run(broker.exchange([], Claim(worker=worker, queues=("default",), limit=count))).jobs
