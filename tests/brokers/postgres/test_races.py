"""Two at one job in the same moment: it is in one place all the same."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from backburner import lifecycle
from backburner.brokers.base import Operation
from backburner.brokers.postgres.broker import PostgresBroker
from backburner.brokers.postgres.schema import VERSION, check, migrate, version
from backburner.job import JobRecord
from backburner.lifecycle import Settlement, State
from tests.brokers.postgres.conftest import new_job, schema_of, sql, take

BATCH = 500

CHANGES: dict[str, Callable[[PostgresBroker, JobRecord], Operation[object]]] = {
    "a cancel request": lambda broker, job: broker.cancel([job.id], "stop", 60),
    "a checkpoint": lambda broker, job: broker.note(job, b"1", b"2"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_job_that_is_changed_just_before_it_is_settled_leaves_the_live_ones(
    broker: PostgresBroker, url: str, change: str
) -> None:
    """Changed while the statement that settles is under way, which locks what it did not see."""
    broker.run(broker.enqueue([new_job() for _ in range(BATCH)], {}))
    jobs = take(broker, BATCH)
    jobs.sort(key=lambda job: job.locator)
    settlements = [lifecycle.succeeded(job, b"1", broker.now(), keep=60) for job in jobs]
    with ThreadPoolExecutor(1) as thread:
        settling = thread.submit(settle, broker, settlements)
        while not settling.done():
            broker.run(CHANGES[change](broker, jobs[-1]))
        settling.result()
    counts = sql(url, f"SELECT state, count(*) FROM {schema_of(url)}.stored GROUP BY state")
    assert counts == [(State.SUCCEEDED, BATCH)]


def settle(broker: PostgresBroker, settlements: list[Settlement]) -> None:
    while settlements:
        answer = broker.run(broker.exchange(settlements, None))
        assert answer.lost == []
        settlements = [each for each in settlements if each.job.id in answer.locked]


class Overtaken(psycopg.Connection[tuple[object, ...]]):
    """Another process makes the schema just before this one has the lock for that."""

    def execute(self, query: Any, *given: Any, **named: Any) -> Any:
        if "pg_advisory_xact_lock" in str(query):
            with psycopg.connect(self.info.dsn, password=self.info.password, autocommit=True) as first:
                assert migrate(first, given[0][0].removeprefix("backburner ")) != []
        return super().execute(query, *given, **named)


def test_two_that_begin_at_once_in_an_empty_database_make_one_schema(url: str) -> None:
    """The second looked for one before the first had made it."""
    with Overtaken.connect(url.partition("?")[0], autocommit=True) as second:
        check(second, schema_of(url))
        assert version(second, schema_of(url)) == VERSION
