"""Which job is next."""

from __future__ import annotations

from typing import Any

from backburner.brokers.base import Capability
from backburner.job import JobRecord
from backburner.testing.conformance.kit import Store, ids, needs, new_job


def line(store: Store, **claim: Any) -> list[str]:
    """Every job in the order in which one claim after the other takes it."""
    found: list[str] = []
    while claimed := store.claim(1, **claim):
        found += ids(claimed)
    return found


def test_jobs_are_claimed_first_in_first_out(store: Store) -> None:
    jobs = [store.add() for _ in range(5)]
    assert ids(store.claim(3)) + ids(store.claim(3)) == ids(jobs)


@needs(Capability.ORDER)
def test_it_makes_no_difference_whether_jobs_are_claimed_together_or_one_by_one(store: Store) -> None:
    jobs = [store.add(priority=priority) for priority in (0, 5, 0, -5)]
    jobs.append(store.add(run_at=store.clock() - 60))
    order = ids([jobs[1], jobs[4], jobs[0], jobs[2], jobs[3]])
    assert line(store) == order
    for job_id in order:
        store.end(store.read(job_id), "release")
    assert ids(store.claim(10)) == order


def test_jobs_of_one_batch_are_claimed_in_its_order(store: Store) -> None:
    jobs = [new_job() for _ in range(50)]
    store.enqueue(*jobs)
    assert ids(store.claim(100)) == ids(jobs)


def test_a_larger_priority_is_sooner(store: Store) -> None:
    jobs = {priority: store.add(priority=priority) for priority in (0, -100, 100, 5, -5)}
    assert line(store) == [jobs[priority].id for priority in (100, 5, 0, -5, -100)]


@needs(Capability.ORDER)
def test_within_a_priority_the_first_in_is_first_out(store: Store) -> None:
    jobs = [store.add(priority=priority) for priority in (1, 2, 1, 2)]
    assert line(store) == ids([jobs[1], jobs[3], jobs[0], jobs[2]])


def test_within_a_band_the_first_in_is_first_out(store: Store) -> None:
    """The bands of a broker without `Capability.ORDER`: from 50 up, above 0, 0, below 0, from -50 down."""
    priorities = (0, -99, 99, 7, -7)
    jobs: dict[int, list[JobRecord]] = {priority: [] for priority in priorities}
    for _ in range(3):
        for priority in priorities:
            jobs[priority].append(store.add(priority=priority))
    assert line(store) == ids([job for priority in (99, 7, 0, -7, -99) for job in jobs[priority]])


def test_a_claim_takes_from_its_queues_in_their_order(store: Store) -> None:
    low, high = store.add(queue="low", priority=100), store.add(queue="high")
    assert ids(store.claim(10, queues=("high", "low"))) == [high.id, low.id]


def test_a_claim_takes_no_more_than_its_limit_from_several_queues(store: Store) -> None:
    jobs = [store.add(queue=queue) for queue in ("a", "a", "b", "b")]
    assert ids(store.claim(3, queues=("a", "b"))) == ids(jobs[:3])


def test_a_claim_takes_nothing_from_other_queues(store: Store) -> None:
    store.add(queue="mail")
    assert store.claim(10) == []


@needs(Capability.ORDER)
def test_a_claim_leaves_out_tasks_that_the_worker_has_no_room_for(store: Store) -> None:
    jobs = [store.add(task=task) for task in ("slow", "quick", "slow", "quick")]
    assert ids(store.claim(10, exclude=("slow",))) == ids([jobs[1], jobs[3]])
    assert ids(store.claim(10)) == ids([jobs[0], jobs[2]])


def test_what_one_claim_leaves_out_the_next_may_take(store: Store) -> None:
    jobs = [store.add(task=task) for task in ("slow", "quick", "slow", "quick")]
    assert set(ids(store.claim(10, exclude=("slow",)))) == {jobs[1].id, jobs[3].id}
    assert store.claim(10, exclude=("slow",)) == []
    assert set(ids(store.claim(10))) == {jobs[0].id, jobs[2].id}


@needs(Capability.ORDER)
def test_a_claim_that_leaves_tasks_out_keeps_the_order(store: Store) -> None:
    store.add(task="slow", priority=9)
    jobs = [store.add(task="quick", priority=priority) for priority in (1, 3, 2, 3)]
    assert ids(store.claim(2, exclude=("slow",))) == ids([jobs[1], jobs[3]])
    assert ids(store.claim(2, exclude=("slow",))) == ids([jobs[2], jobs[0]])


@needs(Capability.ORDER)
def test_a_released_job_keeps_its_place(store: Store) -> None:
    jobs = [store.add() for _ in range(3)]
    store.clock.advance(10)
    store.end(store.take(), "release")
    assert line(store) == ids(jobs)


@needs(Capability.ORDER)
def test_a_job_whose_worker_crashed_keeps_its_place(store: Store) -> None:
    jobs = [store.add() for _ in range(3)]
    store.end(store.take(), "crash")
    assert line(store) == ids(jobs)


@needs(Capability.ORDER, Capability.UPKEEP)
def test_a_job_that_was_due_earlier_goes_first(store: Store) -> None:
    scheduled = store.add(delay=10)
    store.clock.advance(20)
    late = store.add()
    store.stage()
    assert line(store) == [scheduled.id, late.id]


@needs(Capability.ORDER, Capability.UPKEEP)
def test_a_retried_job_goes_behind_those_that_came_before_it_was_due(store: Store) -> None:
    failed = store.add()
    store.end(store.take(), "retry")
    store.clock.advance(5)
    meanwhile = store.add()
    store.clock.advance(10)
    store.stage()
    assert line(store) == [meanwhile.id, failed.id]


@needs(Capability.UPKEEP)
def test_a_clock_that_goes_back_loses_nothing(store: Store) -> None:
    first = store.add()
    store.clock.advance(-3600)
    second, delayed = store.add(), store.add(delay=10)
    assert set(ids(store.claim(10))) == {first.id, second.id}
    store.clock.advance(10)
    assert store.stage() == 1
    assert ids(store.claim(10)) == [delayed.id]
