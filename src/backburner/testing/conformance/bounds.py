"""Queues with a maximal length."""

from __future__ import annotations

import pytest

from backburner.brokers.base import Bound
from backburner.errors import QueueFull
from backburner.lifecycle import State
from backburner.testing.conformance.kit import Store, ids, new_job

RAISES = Bound(queue="default", max_length=3)
DROPS = Bound(queue="default", max_length=3, on_full="drop_oldest")


def test_a_queue_takes_jobs_up_to_its_length(store: Store) -> None:
    for _ in range(3):
        store.enqueue(new_job(), bound=RAISES)
    with pytest.raises(QueueFull) as caught:
        store.enqueue(new_job(), bound=RAISES)
    assert (caught.value.queue, caught.value.depth, caught.value.max_length) == ("default", 3, 3)
    assert caught.value.retry_after > 0
    assert len(store.claim(10)) == 3


def test_a_batch_that_does_not_fit_is_not_stored_at_all(store: Store) -> None:
    store.enqueue(new_job(), bound=RAISES)
    with pytest.raises(QueueFull):
        store.enqueue(new_job(), new_job(), new_job(), bound=RAISES)
    assert len(store.claim(10)) == 1


def test_there_is_room_again_when_a_job_is_claimed(store: Store) -> None:
    store.enqueue(new_job(), new_job(), new_job(), bound=RAISES)
    store.take()
    store.enqueue(new_job(), bound=RAISES)
    assert len(store.claim(10)) == 3


def test_other_queues_are_not_bounded(store: Store) -> None:
    store.enqueue(*[new_job(queue="other") for _ in range(10)], bound=RAISES)
    assert len(store.claim(20, queues=("other",))) == 10


def test_a_queue_that_drains_fast_says_to_come_back_soon(store: Store) -> None:
    store.enqueue(*[new_job() for _ in range(300)])
    for job in store.claim(300):
        store.end(job, "succeed")
    store.clock.advance(60)
    store.enqueue(*[new_job() for _ in range(3)])
    with pytest.raises(QueueFull) as caught:
        store.enqueue(new_job(), bound=RAISES)
    assert caught.value.retry_after <= 5


def test_jobs_for_later_need_no_room_now(store: Store) -> None:
    store.enqueue(new_job(), new_job(), new_job(), bound=RAISES)
    job = store.enqueue(new_job(delay=60), bound=RAISES)[0]
    assert store.state(job) is State.SCHEDULED


def test_a_job_that_exists_already_needs_no_room(store: Store) -> None:
    first = store.add(key="once")
    store.enqueue(new_job(), new_job(), bound=RAISES)
    assert store.enqueue(new_job(key="once"), bound=RAISES)[0].id == first.id


def test_a_full_queue_drops_its_oldest_jobs(store: Store) -> None:
    jobs = [store.add() for _ in range(3)]
    new = [new_job(), new_job()]
    store.enqueue(*new, bound=DROPS)
    assert ids(store.claim(10)) == ids([jobs[2], *new])
    for job in jobs[:2]:
        dropped = store.read(job)
        assert (dropped.state, dropped.finished_at) == (State.CANCELLED, store.clock())
        assert "full" in (dropped.reason or "")


def test_the_oldest_is_dropped_whatever_its_priority(store: Store) -> None:
    oldest = store.add(priority=100)
    store.clock.advance(1)
    store.add(priority=-100)
    store.add()
    store.enqueue(new_job(), bound=DROPS)
    assert store.state(oldest) is State.CANCELLED


def test_a_job_that_exists_already_drops_none(store: Store) -> None:
    first = store.add(key="once")
    store.enqueue(new_job(), new_job(), bound=DROPS)
    assert store.enqueue(new_job(key="once"), bound=DROPS)[0].id == first.id
    assert store.state(first) is State.QUEUED


def test_a_batch_longer_than_the_queue_is_refused_rather_than_dropped(store: Store) -> None:
    job = store.add()
    with pytest.raises(QueueFull):
        store.enqueue(*[new_job() for _ in range(4)], bound=DROPS)
    assert store.state(job) is State.QUEUED


def test_a_full_queue_refuses_before_another_one_drops(store: Store) -> None:
    kept = [store.add(queue="drops") for _ in range(3)]
    store.enqueue(*[new_job(queue="raises") for _ in range(3)])
    bounds = {
        "drops": Bound(queue="drops", max_length=3, on_full="drop_oldest"),
        "raises": Bound(queue="raises", max_length=3),
    }
    with pytest.raises(QueueFull):
        store.do(store.broker.enqueue([new_job(queue="drops"), new_job(queue="raises")], bounds))
    assert [store.state(job) for job in kept] == [State.QUEUED] * 3


def test_jobs_that_come_back_are_never_refused(store: Store) -> None:
    store.enqueue(*[new_job() for _ in range(3)], bound=RAISES)
    claimed = store.take()
    store.enqueue(new_job(), bound=RAISES)
    assert store.end(claimed, "release") == []
    assert len(store.claim(10)) == 4
