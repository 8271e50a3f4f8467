"""Jobs that wait for their time."""

from __future__ import annotations

import pytest

from backburner.brokers.base import Staged
from backburner.lifecycle import State
from backburner.testing.conformance.kit import Store, ids


@pytest.mark.parametrize("state", [State.SCHEDULED, State.RETRYING])
def test_a_job_that_is_due_is_moved_to_its_queue(store: Store, state: State) -> None:
    job = store.in_state(state)
    store.clock.advance(job.run_at - store.clock() - 0.5)
    assert store.stage() == 0
    assert store.state(job) is state
    store.clock.advance(0.5)
    assert store.stage() == 1
    assert store.state(job) is State.QUEUED


def test_staging_says_when_the_next_job_is_due(store: Store) -> None:
    now = store.clock()
    assert store.do(store.broker.stage(10)).next_at is None
    for delay in (50, 20, 30):
        store.add(delay=delay)
    assert store.do(store.broker.stage(10)) == Staged(0, now + 20)
    store.clock.advance(25)
    assert store.do(store.broker.stage(10)) == Staged(1, now + 30)


def test_a_limit_is_kept_and_the_longest_due_go_first(store: Store) -> None:
    jobs = [store.add(delay=delay) for delay in (30, 10, 20)]
    store.clock.advance(60)
    assert store.stage(limit=2) == 2
    assert [store.state(job) for job in jobs] == [State.SCHEDULED, State.QUEUED, State.QUEUED]
    assert store.stage(limit=2) == 1
    assert store.do(store.broker.stage(2)) == Staged(0, None)


def test_what_waits_still_counts_as_due_when_the_limit_left_it(store: Store) -> None:
    for _ in range(3):
        store.add(delay=10)
    store.clock.advance(10)
    staged = store.do(store.broker.stage(2))
    assert staged.count == 2
    assert staged.next_at is not None
    assert staged.next_at <= store.clock()


def test_a_staged_job_keeps_everything_else(store: Store) -> None:
    job = store.in_state(State.RETRYING, priority=3, payload=b"[7]")
    store.clock.advance(60)
    store.stage()
    staged = store.read(job)
    staged.state = State.RETRYING
    assert staged == job


def test_only_one_of_two_stagers_moves_a_job(store: Store, other: Store) -> None:
    store.add(delay=10)
    store.clock.advance(10)
    assert store.stage() + other.stage() == 1
    assert len(other.claim(10)) == 1


def test_jobs_become_due_in_every_queue(store: Store) -> None:
    jobs = [store.add(queue=queue, delay=5) for queue in ("a", "b")]
    store.clock.advance(5)
    store.stage()
    assert ids(store.claim(10, queues=("a", "b"))) == ids(jobs)
