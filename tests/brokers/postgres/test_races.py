"""Two at one job in the same moment: it is in one place all the same."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from backburner import lifecycle
from backburner.brokers.base import Operation
from backburner.brokers.postgres.broker import PostgresBroker
from backburner.job import JobRecord
from backburner.lifecycle import State
from tests.brokers.postgres.conftest import add, schema_of, sql, take

CHANGES: dict[str, Callable[[PostgresBroker, JobRecord], Operation[object]]] = {
    "a cancel request": lambda broker, job: broker.cancel([job.id], "stop", 60),
    "a checkpoint": lambda broker, job: broker.note(job, b"1", b"2"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_job_that_is_changed_just_before_it_is_settled_leaves_the_live_ones(
    broker: PostgresBroker, url: str, change: str
) -> None:
    add(broker)
    [job] = take(broker)
    settlement = lifecycle.succeeded(job, b"1", broker.now(), keep=60)
    with ThreadPoolExecutor(1) as thread, psycopg.connect(url.partition("?")[0]) as own:
        broker.run_on(own, CHANGES[change](broker, job))
        settling = thread.submit(lambda: broker.run(broker.exchange([settlement], None)))
        while not sql(url, "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            pass
        own.commit()
        assert settling.result().lost == []
    assert sql(url, f"SELECT id, state FROM {schema_of(url)}.stored") == [(job.id, State.SUCCEEDED)]
