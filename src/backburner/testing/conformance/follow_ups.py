"""Jobs that are enqueued by the settlement of another: with it, or not at all."""

from __future__ import annotations

from backburner import lifecycle
from backburner.brokers.base import Capability
from backburner.job import JobRecord
from backburner.lifecycle import Settlement, State
from backburner.testing.conformance.kit import KEEP, Store, ids, new_job


def success(store: Store, job: JobRecord, *follow_ups: JobRecord) -> Settlement:
    return lifecycle.succeeded(job, None, store.clock(), keep=KEEP, follow_ups=follow_ups)


def test_follow_ups_are_enqueued_with_the_success(store: Store, other: Store) -> None:
    job = store.in_state(State.RUNNING)
    now, later = new_job(payload=b"[1]"), new_job(delay=60)
    assert store.settle(success(store, job, now, later)) == []
    if store.can(Capability.LOOKUP):
        assert other.state(job) is State.SUCCEEDED
        assert (other.state(now), other.state(later)) == (State.QUEUED, State.SCHEDULED)
    assert [(each.id, each.payload) for each in other.claim(10) or other.await_claim(1)] == [(now.id, b"[1]")]


def test_a_follow_up_can_be_claimed_in_the_exchange_that_brings_it(store: Store) -> None:
    job = store.in_state(State.RUNNING)
    follow_up = new_job()
    assert ids(store.claim(settling=[success(store, job, follow_up)])) == [follow_up.id]


def test_the_follow_ups_of_a_refused_settlement_are_refused(store: Store, other: Store) -> None:
    stale = store.in_state(State.RUNNING)
    store.end(stale, "release")
    current = other.take("w2")
    good, bad = new_job(), new_job()
    assert store.settle(success(store, stale, bad)) == [stale.id]
    assert other.settle(success(other, current, good)) == []
    if store.can(Capability.LOOKUP):
        assert store.exists(good)
        assert not store.exists(bad)
    assert ids(store.claim(10) or store.await_claim(1)) == [good.id]


def test_in_one_batch_each_settlement_answers_for_its_own(store: Store) -> None:
    for _ in range(3):
        store.add()
    claimed = store.claim(3)
    store.end(claimed[1], "release")
    follow_ups = [new_job() for _ in range(3)]
    batch = [success(store, job, follow) for job, follow in zip(claimed, follow_ups, strict=True)]
    assert store.settle(*batch) == [claimed[1].id]
    if store.can(Capability.LOOKUP):
        assert [store.exists(job) for job in follow_ups] == [True, False, True]
    assert set(ids(store.claim(10))) == {claimed[1].id, follow_ups[0].id, follow_ups[2].id}


def test_a_follow_up_with_a_key_that_exists_is_no_trouble(store: Store) -> None:
    first = store.add(key="once", queue="other")
    job = store.in_state(State.RUNNING)
    assert store.settle(success(store, job, new_job(key="once"))) == []
    assert store.state(job) is State.SUCCEEDED
    assert store.add(key="once").id == first.id
    assert store.claim() == []
