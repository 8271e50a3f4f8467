"""What `enqueue` stores, and what it answers."""

from __future__ import annotations

import pytest

from backburner.brokers.base import Capability
from backburner.job import Options
from backburner.lifecycle import State
from backburner.retry import Retry
from backburner.testing.conformance.kit import Store, ids, needs, new_job


def test_an_enqueued_job_is_stored_as_it_was_given(store: Store, other: Store) -> None:
    options = Options(retry=Retry(max_attempts=2), timeout=5, result_ttl=9, tags=("a",), meta={"by": "me"})
    job = new_job(task="shop.mail", payload=b'["x",1]', queue="mail", priority=7, key="k", options=options)
    store.enqueue(job)
    found = other.read(job.id)
    found.locator = job.locator  # the broker's own
    assert found == job
    assert found.options == options
    assert (found.created_at, found.run_at, found.state) == (store.clock(), store.clock(), State.QUEUED)


def test_the_answer_holds_the_jobs_in_the_order_given(store: Store) -> None:
    jobs = [new_job(priority=priority) for priority in (3, 99, -5, 0)]
    assert ids(store.enqueue(*jobs)) == ids(jobs)


def test_a_new_job_has_not_been_tried(store: Store) -> None:
    found = store.read(store.add())
    assert (found.attempt, found.token, found.crashes) == (0, 0, 0)
    assert (found.worker, found.started_at, found.finished_at, found.result, found.reason) == (None,) * 5
    assert not found.cancel_requested


def test_a_new_job_is_answered_with_the_very_record(store: Store) -> None:
    jobs = [new_job(), new_job(delay=60), new_job(run_at=store.clock() - 60)]
    assert [found is job for found, job in zip(store.enqueue(*jobs), jobs, strict=True)] == [True] * 3
    assert [job.state for job in jobs] == [State.QUEUED, State.SCHEDULED, State.QUEUED]
    assert [job.created_at for job in jobs] == [store.clock()] * 3


def test_no_jobs_at_all_are_no_trouble(store: Store) -> None:
    assert store.enqueue() == []


@pytest.mark.parametrize("count", [2, 1000])
def test_many_jobs_are_stored_together(store: Store, count: int) -> None:
    jobs = [new_job() for _ in range(count)]
    assert ids(store.enqueue(*jobs)) == ids(jobs)
    if store.can(Capability.LOOKUP):
        assert [info.counts for info in store.do(store.broker.queues())] == [{"queued": count}]
    assert ids(store.claim(count + 1)) == ids(jobs)


def test_a_payload_comes_back_byte_for_byte(store: Store) -> None:
    payload = b'["\xf0\x9f\x93\xb7 \\u0000 \xc3\xa9", {"n": 1e300}]' + b" " * 100_000
    assert store.read(store.add(payload=payload)).payload == payload


def test_a_text_may_hold_any_characters(store: Store) -> None:
    odd = "naïve 'quoted' \"both\" %s {0} \\ 📷 ;--"
    job = store.add(task=odd, queue=odd, key=odd)
    found = store.read(job)
    assert (found.task, found.queue, found.key) == (odd, odd, odd)
    assert ids(store.claim(queues=(odd,))) == [job.id]


def test_a_job_with_a_delay_is_scheduled(store: Store) -> None:
    job = store.add(delay=60)
    assert (job.state, job.run_at) == (State.SCHEDULED, store.clock() + 60)
    if store.can(Capability.LOOKUP):
        assert store.read(job).state is State.SCHEDULED
    assert store.claim() == []


def test_a_job_for_a_time_to_come_is_scheduled(store: Store) -> None:
    job = store.add(run_at=store.clock() + 60)
    assert store.read(job).state is State.SCHEDULED


@pytest.mark.parametrize("delay", [0, -5])
def test_a_job_without_a_wait_is_queued(store: Store, delay: float) -> None:
    job = store.add(delay=delay)
    assert (store.read(job).state, job.run_at) == (State.QUEUED, store.clock())


def test_a_time_that_has_passed_means_now(store: Store) -> None:
    job = store.add(run_at=store.clock() - 60)
    assert store.read(job).state is State.QUEUED


def test_an_expiry_counts_from_the_brokers_now(store: Store) -> None:
    assert store.read(store.add(expires_in=60)).expires_at == store.clock() + 60
    assert store.read(store.add(expires_at=5.0)).expires_at == 5.0


@needs(Capability.UNIQUE)
def test_an_id_that_is_stored_already_is_not_stored_twice(store: Store, other: Store) -> None:
    first = store.add(payload=b"[1]")
    found = other.enqueue(new_job(id=first.id, payload=b"[2]"))
    assert [job.payload for job in found] == [b"[1]"]
    assert len(store.claim(10)) == 1


@needs(Capability.UNIQUE)
def test_a_job_that_is_finished_is_not_stored_again_under_its_id(store: Store) -> None:
    job = store.add()
    store.end(store.take(), "succeed")
    assert store.enqueue(new_job(id=job.id))[0].state is State.SUCCEEDED
    assert store.claim() == []


@needs(Capability.UNIQUE)
def test_one_id_twice_in_a_batch_is_one_job(store: Store) -> None:
    job = new_job(payload=b"[1]")
    again = new_job(id=job.id, payload=b"[2]")
    last = new_job()
    found = store.enqueue(job, again, last)
    assert ids(found) == [job.id, job.id, last.id]
    assert [each.payload for each in found[:2]] == [b"[1]", b"[1]"]
    assert len(store.claim(10)) == 2


@needs(Capability.UNIQUE)
def test_a_caller_can_tell_new_jobs_from_those_that_existed(store: Store) -> None:
    old = store.add()
    new, again = new_job(), new_job(id=old.id)
    found = store.enqueue(new, again)
    assert found[0] is new, "a new job is answered with the very record"
    assert found[1] is not again
