"""A job whose row another transaction has locked: only that one waits."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from backburner import Backburner, lifecycle
from backburner.brokers.base import Beat, Claim, Operation
from backburner.brokers.postgres.broker import PostgresBroker
from backburner.brokers.postgres.rows import settlement_rows
from backburner.errors import LeaseLost
from backburner.job import JobRecord
from backburner.lifecycle import Settlement, State
from backburner.testing import Clock
from backburner.testing.conformance.kit import ENDINGS
from backburner.worker.maintenance import LONGEST, Maintenance
from tests.brokers.postgres.conftest import add, new_job, schema_of, sql, take

CLAIM = Claim(worker="w1", queues=("default",), limit=10)


@pytest.fixture
def own(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the application's."""
    with psycopg.connect(url.partition("?")[0]) as connection:
        yield connection


def done(broker: PostgresBroker, job: JobRecord) -> Settlement:
    return lifecycle.succeeded(job, b"1", broker.now(), keep=60)


@pytest.mark.parametrize("verb", ENDINGS)
def test_what_travels_with_it_is_settled_and_claimed(
    broker: PostgresBroker, own: psycopg.Connection[Any], verb: str
) -> None:
    broker.run(broker.enqueue([new_job() for _ in range(3)], {}))
    jobs = take(broker, 3)
    waiting = add(broker)
    broker.run_on(own, broker.complete(done(broker, jobs[1])))
    answer = broker.run(broker.exchange([ENDINGS[verb](job, broker.now()) for job in jobs], CLAIM))
    assert (answer.lost, answer.locked) == ([], [jobs[1].id])
    assert waiting.id in [job.id for job in answer.jobs]
    [stored] = broker.run(broker.get([jobs[1].id]))
    assert (stored.state, stored.token) == (State.RUNNING, 1)
    assert broker.run(broker.history(jobs[1].id)) == []


def test_after_a_rollback_it_is_settled_as_was_asked(
    broker: PostgresBroker, own: psycopg.Connection[Any]
) -> None:
    failed = completed_and_failed(broker, own)
    own.rollback()
    answer = broker.run(broker.exchange([failed], None))
    assert [*answer.lost, *answer.locked] == []
    assert broker.run(broker.get([failed.job.id]))[0].state is State.DEAD


def test_after_a_commit_it_is_refused(broker: PostgresBroker, own: psycopg.Connection[Any]) -> None:
    failed = completed_and_failed(broker, own)
    own.commit()
    answer = broker.run(broker.exchange([failed], None))
    assert (answer.lost, [*answer.locked]) == ([failed.job.id], [])
    assert broker.run(broker.get([failed.job.id]))[0].state is State.SUCCEEDED


def completed_and_failed(broker: PostgresBroker, own: psycopg.Connection[Any]) -> Settlement:
    add(broker)
    [job] = take(broker)
    failed = ENDINGS["die"](job, broker.now())
    broker.run_on(own, broker.complete(done(broker, job)))
    assert broker.run(broker.exchange([failed], None)).locked == [job.id]
    return failed


def test_an_old_claim_of_a_job_that_is_locked_is_refused(
    broker: PostgresBroker, own: psycopg.Connection[Any]
) -> None:
    add(broker)
    [old] = take(broker)
    broker.run(broker.exchange([lifecycle.released(old, broker.now())], None))
    [new] = take(broker)
    broker.run_on(own, broker.complete(done(broker, new)))
    answer = broker.run(broker.exchange([done(broker, old), done(broker, new)], None))
    assert (answer.lost, answer.locked) == ([old.id], [new.id])


def test_a_completion_waits_for_another_one_of_its_job(
    broker: PostgresBroker, own: psycopg.Connection[Any], url: str
) -> None:
    add(broker)
    [job] = take(broker)
    broker.run_on(own, broker.complete(done(broker, job)))
    with ThreadPoolExecutor(1) as thread, psycopg.connect(url.partition("?")[0]) as second:
        completing = thread.submit(broker.run_on, second, broker.complete(done(broker, job)))
        until_somebody_waits(url)
        own.commit()
        with pytest.raises(LeaseLost):
            completing.result()


def test_a_worker_of_the_version_before_waits_for_it_as_it_did(
    broker: PostgresBroker, own: psycopg.Connection[Any], url: str
) -> None:
    """In a deploy both are there at once, and that one would take it for refused."""
    add(broker)
    [job] = take(broker)
    broker.run_on(own, broker.complete(done(broker, job)))
    ended = settlement_rows([done(broker, job)])[0]
    given = f"NULL, '{ended}', NULL, NULL, NULL, NULL, NULL, false"
    with ThreadPoolExecutor(1) as thread:
        settling = thread.submit(sql, url, f"SELECT * FROM {schema_of(url)}.exchange({given})")
        until_somebody_waits(url)
        own.rollback()
        assert settling.result() == []
    assert broker.run(broker.get([job.id]))[0].state is State.SUCCEEDED


def until_somebody_waits(url: str) -> None:
    while not sql(url, "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
        pass


class LockedMeanwhile(PostgresBroker):
    """Somebody locks what a rescue has found, before it hands that back."""

    own: psycopg.Connection[Any]

    def orphans(self, limit: int, workers: Collection[str] | None) -> Operation[list[JobRecord]]:
        found = yield from super().orphans(limit, workers)
        for job in found:
            self.run_on(self.own, self.note(job, b"1", None))
        return found


def test_a_rescue_does_not_say_that_it_handed_it_back(url: str, own: psycopg.Connection[Any]) -> None:
    broker = LockedMeanwhile(url)
    broker.own = own
    add(broker)
    take(broker)
    broker.run(broker.heartbeat([Beat(worker="w1", lease=0.0)]))
    assert broker.run(broker.rescue(10, 3)) == []
    own.rollback()
    broker.orphans = super(LockedMeanwhile, broker).orphans  # type: ignore[method-assign]
    assert len(broker.run(broker.rescue(10, 3))) == 1
    broker.close()


async def test_a_due_job_is_looked_at_later_and_later_and_moved_in_the_end(
    url: str, own: psycopg.Connection[Any]
) -> None:
    clock = Clock()
    broker = PostgresBroker(url, clock)
    job = add(broker, delay=1.0)
    add(broker, delay=3600.0)
    settings = Backburner(url).settings
    nothing: Any = lambda _: None  # noqa: E731 - for all callbacks
    upkeep = Maintenance(
        broker, settings, beats=list, directed=nothing, rescued=nothing, emit=nothing
    )._stage.perform
    own.execute(f"SELECT FROM {schema_of(url)}.jobs WHERE id = '{job.id}' FOR UPDATE".encode())
    clock.advance(1.0)
    assert [await upkeep() for _ in range(7)] == [0.01, 0.02, 0.04, 0.08, 0.16, 0.2, 0.2]
    own.rollback()
    assert await upkeep() == LONGEST
    assert [each.id for each in take(broker)] == [job.id]
    broker.close()
