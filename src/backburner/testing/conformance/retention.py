"""What is deleted, when, and what never is."""

from __future__ import annotations

import pytest

from backburner.brokers.base import Bound, Pruned
from backburner.lifecycle import State
from backburner.testing.conformance.kit import BOOM, ENDINGS, KEEP, Store, new_job

LIMIT = 1000


def prune(store: Store, limit: int = LIMIT, max_dead: int = 100) -> Pruned:
    return store.do(store.broker.prune(limit, max_dead))


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.CANCELLED])
def test_a_finished_job_is_kept_for_as_long_as_it_says(store: Store, state: State) -> None:
    job = store.in_state(state)
    store.clock.advance(KEEP - 1)
    assert prune(store).deleted == 0
    assert store.exists(job)
    store.clock.advance(1)
    assert prune(store).deleted == 1
    assert not store.exists(job)
    assert store.history(job) == []


def test_a_job_cancelled_while_it_waited_is_kept_for_as_long_as_the_caller_says(store: Store) -> None:
    job = store.add()
    store.do(store.broker.cancel([job.id], "enough", 5))
    store.clock.advance(4)
    assert prune(store).deleted == 0
    store.clock.advance(1)
    assert prune(store).deleted == 1


def test_a_job_that_a_full_queue_dropped_is_kept_for_as_long_as_its_bound_says(store: Store) -> None:
    store.add()
    store.enqueue(new_job(), bound=Bound(queue="default", max_length=1, on_full="drop_oldest", keep=5))
    store.clock.advance(4)
    assert prune(store).deleted == 0
    store.clock.advance(1)
    assert prune(store).deleted == 1


@pytest.mark.parametrize("state", [State.QUEUED, State.SCHEDULED, State.RUNNING, State.RETRYING, State.DEAD])
def test_nothing_else_is_ever_too_old(store: Store, state: State) -> None:
    job = store.in_state(state)
    store.clock.advance(10 * 365 * 86400)
    assert prune(store).deleted == 0
    assert store.state(job) is state


def test_a_revived_job_is_not_deleted_when_its_old_retention_has_passed(store: Store) -> None:
    job = store.in_state(State.CANCELLED)
    store.do(store.broker.revive([job.id]))
    store.clock.advance(2 * KEEP)
    assert prune(store).deleted == 0
    assert store.state(job) is State.QUEUED


def test_a_limit_is_kept(store: Store) -> None:
    for _ in range(5):
        store.in_state(State.SUCCEEDED)
    store.clock.advance(KEEP)
    assert [prune(store, limit=2).deleted for _ in range(4)] == [2, 2, 1, 0]


def test_dead_jobs_are_counted_by_queue(store: Store) -> None:
    for queue in ("a", "b", "b"):
        store.in_state(State.DEAD, queue=queue)
    assert prune(store) == (0, {}, {"a": 1, "b": 2})


def test_beyond_the_limit_the_oldest_dead_jobs_are_trimmed_and_it_is_said(store: Store) -> None:
    jobs = []
    for _ in range(5):
        jobs.append(store.in_state(State.DEAD))
        store.clock.advance(1)
        store.beat("w1")
    kept = store.in_state(State.DEAD, queue="other")
    assert prune(store, max_dead=3) == (0, {"default": 2}, {"default": 3, "other": 1})
    assert [store.exists(job) for job in jobs] == [False, False, True, True, True]
    assert store.history(jobs[0]) == []
    assert len(store.history(jobs[4])) == 1
    assert store.exists(kept)
    assert prune(store, max_dead=3).trimmed == {}


def test_trimming_keeps_to_its_limit(store: Store) -> None:
    for _ in range(5):
        store.in_state(State.DEAD)
    assert prune(store, limit=1, max_dead=2).trimmed == {"default": 1}
    assert prune(store, limit=10, max_dead=2).trimmed == {"default": 2}


def test_a_job_may_be_kept_for_no_time_at_all(store: Store) -> None:
    store.add()
    settlement = ENDINGS["succeed"](store.take(), store.clock())
    settlement.keep = 0
    store.settle(settlement)
    assert prune(store).deleted == 1


def test_the_history_goes_with_the_job(store: Store) -> None:
    job = store.in_state(State.RETRYING)
    store.clock.advance(20)
    store.beat("w1")
    store.stage()
    store.end(store.take(), "succeed")
    assert [line.error for line in store.history(job)] == [BOOM.error]
    store.clock.advance(KEEP)
    prune(store)
    assert store.history(job) == []
