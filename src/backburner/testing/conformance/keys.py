"""Idempotency keys: at most one stored job has a key."""

from __future__ import annotations

import pytest

from backburner.lifecycle import State
from backburner.testing.conformance.kit import KEEP, Store, ids, new_job


def test_a_second_job_with_a_key_is_the_first(store: Store, other: Store) -> None:
    first = store.add(key="photo-42", payload=b"[1]")
    second = other.add(key="photo-42", payload=b"[2]")
    assert (second.id, second.payload) == (first.id, b"[1]")
    assert len(store.claim(10)) == 1


def test_keys_that_differ_are_jobs_that_differ(store: Store) -> None:
    assert store.add(key="a").id != store.add(key="A").id
    assert store.add().id != store.add().id
    assert len(store.claim(10)) == 4


@pytest.mark.parametrize("state", [s for s in State if s is not State.BLOCKED])
def test_a_key_holds_in_every_state(store: Store, state: State) -> None:
    job = store.in_state(state, key="once")
    assert store.add(key="once").id == job.id
    assert store.state(job) is state


def test_a_key_is_free_again_when_its_job_is_deleted(store: Store) -> None:
    first = store.in_state(State.SUCCEEDED, key="once")
    store.clock.advance(KEEP)
    store.do(store.broker.prune(10, 10))
    second = store.add(key="once")
    assert second.id != first.id
    store.do(store.broker.delete([second.id]))
    assert store.add(key="once").id not in {first.id, second.id}


def test_one_key_twice_in_a_batch_is_one_job(store: Store) -> None:
    jobs = [new_job(key="a"), new_job(key="b"), new_job(key="a"), new_job()]
    found = store.enqueue(*jobs)
    assert ids(found) == [jobs[0].id, jobs[1].id, jobs[0].id, jobs[3].id]
    assert ids(store.claim(10)) == ids([jobs[0], jobs[1], jobs[3]])


def test_only_those_that_existed_are_answered_as_such(store: Store) -> None:
    old = store.add(key="old")
    jobs = [new_job(key="new"), new_job(key="old"), new_job()]
    found = store.enqueue(*jobs)
    assert [kept is job for kept, job in zip(found, jobs, strict=True)] == [True, False, True]
    assert found[1].id == old.id


def test_a_key_is_one_for_all_queues_and_tasks(store: Store) -> None:
    first = store.add(key="k", queue="a", task="one")
    assert store.add(key="k", queue="b", task="two").id == first.id
