"""Heartbeats, what they bring back, and the jobs of workers that died."""

from __future__ import annotations

from typing import TypeVar

from backburner.brokers.base import Beat, Capability, Operation
from backburner.lifecycle import State
from backburner.testing import Clock
from backburner.testing.conformance.kit import LEASE, Store, ids, needs

T = TypeVar("T")


def die(store: Store) -> None:
    """No worker says anything any more, until all leases have passed."""
    store.clock.advance(LEASE + 1)


def test_a_job_of_a_dead_worker_goes_back_to_its_queue(store: Store, other: Store) -> None:
    store.add()
    claimed = store.take("w1")
    die(store)
    [settlement] = other.rescue()
    assert (settlement.job.id, settlement.verb) == (claimed.id, "crash")
    found = other.take("w2")
    assert (found.id, found.attempt, found.token, found.crashes) == (claimed.id, 1, 2, 1)


def test_a_rescued_job_has_the_crash_in_its_history(store: Store) -> None:
    store.add()
    claimed = store.take("w1")
    die(store)
    store.rescue()
    [line] = store.history(claimed)
    assert (line.outcome, line.worker, line.token) == ("crash", "w1", 1)


def test_a_worker_that_beats_keeps_its_jobs(store: Store) -> None:
    store.add()
    claimed = store.take("w1")
    for _ in range(5):
        store.clock.advance(LEASE - 1)
        store.beat("w1")
        assert store.rescue() == []
    assert store.end(claimed, "succeed") == []


def test_a_lease_lasts_as_long_as_it_says(store: Store) -> None:
    store.add()
    store.register("w1", lease=300)
    store.take("w1")
    store.clock.advance(299)
    assert store.rescue() == []
    store.clock.advance(1)
    assert len(store.rescue()) == 1


def test_jobs_of_living_workers_are_left_alone(store: Store) -> None:
    first, second = store.add(), store.add()
    store.take("w1")
    store.clock.advance(LEASE - 1)
    store.take("w2")
    store.clock.advance(2)
    assert [each.job.id for each in store.rescue()] == [first.id]
    assert store.state(second) is State.RUNNING


def test_a_lease_of_zero_hands_the_jobs_over_at_once(store: Store) -> None:
    store.add()
    claimed = store.take("w1")
    store.beat("w1", lease=0)
    assert [each.job.id for each in store.rescue()] == [claimed.id]


def test_a_job_that_had_not_started_is_not_blamed_for_the_crash(store: Store) -> None:
    ran, waited = store.add(), store.add()
    store.claim(2)
    store.beat("w1", lease=0)
    rescued = store.do(store.broker.rescue(10, 1, {"w1": {ran.id}}))
    assert {each.job.id: each.verb for each in rescued} == {ran.id: "poison", waited.id: "release"}
    assert (store.state(ran), store.state(waited)) == (State.DEAD, State.QUEUED)
    assert store.read(waited).crashes == 0


def test_a_rescue_of_one_worker_leaves_the_others_alone(store: Store) -> None:
    """Nor does it end their leases: they may have run out in an outage in which nobody could renew them."""
    for worker in ("w1", "w2"):
        store.add()
        store.register(worker)
        store.take(worker)
    die(store)
    [rescued] = store.do(store.broker.rescue(10, 3, {"w1": None}))
    assert (rescued.job.worker, rescued.verb) == ("w1", "crash")
    assert store.beat("w2").lost == []
    assert store.rescue() == []


def test_a_job_that_kills_its_workers_goes_to_the_dead_letters(store: Store) -> None:
    job = store.add()
    for _ in range(3):
        assert store.state(job) is State.QUEUED
        store.register("w1")
        store.take("w1")
        die(store)
        store.rescue(poison_after=3)
    found = store.read(job)
    assert (found.state, found.crashes) == (State.DEAD, 3)
    assert "poison pill" in (found.reason or "")
    assert [line.outcome for line in store.history(job)] == ["crash", "crash", "poison"]


def test_a_rescue_takes_no_more_than_its_limit(store: Store) -> None:
    for _ in range(5):
        store.add()
    store.claim(5)
    die(store)
    assert len(store.do(store.broker.rescue(3, 3))) == 3
    assert len(store.do(store.broker.rescue(3, 3))) == 2


def test_only_one_of_two_rescuers_gets_a_job(store: Store, other: Store) -> None:
    store.add()
    store.take()
    die(store)
    assert [len(store.rescue()), len(other.rescue())] == [1, 0]


def test_a_worker_that_comes_back_too_late_is_told_that_it_lost(store: Store) -> None:
    store.add()
    claimed = store.take("w1")
    die(store)
    store.rescue()
    assert store.beat("w1").lost == ["w1"]
    assert store.end(claimed, "succeed") == [claimed.id]
    assert store.state(claimed) is State.QUEUED


@needs(Capability.UPKEEP)
def test_a_worker_that_lost_is_given_nothing(store: Store) -> None:
    store.add()
    store.register("w1")
    die(store)
    store.rescue()
    assert store.claim(worker="w1") == []


def test_a_late_worker_whose_jobs_nobody_has_taken_yet_goes_on(store: Store) -> None:
    store.add()
    claimed = store.take("w1")
    die(store)
    assert store.beat("w1").lost == []
    assert store.rescue() == []
    assert store.end(claimed, "succeed") == []


@needs(Capability.UPKEEP)
def test_one_beat_speaks_for_a_whole_node(store: Store) -> None:
    jobs = [store.add(), store.add()]
    store.take("w1")
    store.take("w2")
    store.clock.advance(LEASE - 1)
    assert store.beat("w1", "w2", "w3").lost == ["w3"]
    store.clock.advance(2)
    assert store.rescue() == []
    assert [store.state(job) for job in jobs] == [State.RUNNING, State.RUNNING]


def test_a_beat_brings_back_who_asked_for_a_stop(store: Store, other: Store) -> None:
    mine, theirs, waiting = store.add(), store.add(), store.add()
    store.take("w1")
    store.take("w2")
    asked = other.do(other.broker.cancel([mine.id, theirs.id, waiting.id], "enough", 60))
    assert sorted(asked) == sorted([mine.id, theirs.id, waiting.id])
    assert store.beat("w1").cancel == {mine.id: "enough"}
    assert store.beat("w1", "w2").cancel.keys() == {mine.id, theirs.id}
    assert store.beat("w3").cancel == {}


def test_a_job_that_was_stopped_is_asked_for_no_more(store: Store) -> None:
    store.add()
    claimed = store.take()
    store.do(store.broker.cancel([claimed.id], "enough", 60))
    store.end(claimed, "cancel")
    assert store.beat("w1").cancel == {}


def test_the_workers_are_known_with_what_they_said(store: Store) -> None:
    beat = Beat(
        worker="w1", lease=LEASE, new=True, host="box", pid=7, queues=("a",), tasks=("t",), concurrency=9
    )
    store.do(store.broker.heartbeat([beat]))
    began = store.clock()
    store.clock.advance(5)
    store.do(store.broker.heartbeat([Beat(worker="w1", lease=LEASE, running=3, host="box")]))
    [info] = store.do(store.broker.workers())
    assert (info.id, info.beat.host, info.beat.running) == ("w1", "box", 3)
    assert (info.started_at, info.seen_at, info.lease_until) == (began, began + 5, began + 5 + LEASE)


def test_dead_workers_are_forgotten(store: Store) -> None:
    store.register("w1")
    store.register("w2")
    store.clock.advance(LEASE - 1)
    store.beat("w2")
    store.clock.advance(2)
    store.rescue()
    assert [info.id for info in store.do(store.broker.workers())] == ["w2"]


def test_a_cancelled_job_stays_cancelled_in_the_eyes_of_its_next_worker(store: Store) -> None:
    job = store.add()
    store.take("w1")
    store.do(store.broker.cancel([job.id], "enough", 60))
    die(store)
    store.rescue()
    found = store.take("w2")
    assert ids([found]) == [job.id]
    assert (found.cancel_requested, found.reason) == (True, "enough")


def late(operation: Operation[T], clock: Clock, seconds: float) -> Operation[T]:
    """The operation, when its request reaches a server that stood still for so long."""
    request = next(operation)
    clock.advance(seconds)
    while True:
        try:
            request = operation.send((yield request))
        except StopIteration as stop:
            result: T = stop.value
            return result


def test_a_rescue_that_comes_late_judges_leases_by_when_it_was_asked_for(store: Store) -> None:
    """Nobody could beat while the server stood still: that does not tell who is dead."""
    store.add()
    claimed = store.take("w1")
    assert store.do(late(store.broker.orphans(10, None), store.clock, LEASE + 1)) == []
    store.beat("w1")
    assert store.end(claimed, "succeed") == []
