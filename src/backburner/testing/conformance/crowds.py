"""Many at once: threads of one process, and brokers on one store."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from backburner.brokers.base import Beat, Broker, Capability, Claim
from backburner.job import JobRecord
from backburner.lifecycle import Settlement, State
from backburner.testing.conformance.kit import ENDINGS, Store, ids, new_job

THREADS = 8
EACH = 20


def produce(broker: Broker) -> list[str]:
    return [broker.run(broker.enqueue([new_job()], {}))[0].id for _ in range(EACH)]


def consume(broker: Broker, worker: str, now: float) -> list[JobRecord]:
    """Claim and settle in small batches until there is nothing left; what was claimed."""
    if Capability.UPKEEP in broker.capabilities:
        broker.run(broker.heartbeat([Beat(worker=worker, lease=30, new=True)]))
    found: list[JobRecord] = []
    settlements: list[Settlement] = []
    claim = Claim(worker=worker, queues=("default",), limit=3)
    while True:
        answer = broker.run(broker.exchange(settlements, claim))
        assert answer.lost == []
        found += answer.jobs
        # The transaction of another claim may have looked at a job that was given here just now.
        locked = [each for each in settlements if each.job.id in answer.locked]
        settlements = [*locked, *(ENDINGS["succeed"](job, now) for job in answer.jobs)]
        if not settlements:
            return found


def test_jobs_that_many_threads_enqueue_at_once_are_all_stored(store: Store, other: Store) -> None:
    with ThreadPoolExecutor(THREADS) as threads:
        batches = list(threads.map(produce, [store.broker, other.broker] * (THREADS // 2)))
    stored = {job_id for batch in batches for job_id in batch}
    assert len(stored) == THREADS * EACH
    assert set(ids(store.claim(1000))) == stored


def test_a_job_goes_to_one_of_many_threads_that_claim_at_once(store: Store, other: Store) -> None:
    jobs = [new_job() for _ in range(THREADS * EACH)]
    store.enqueue(*jobs)
    with ThreadPoolExecutor(THREADS) as threads:
        brokers = [store.broker, other.broker] * (THREADS // 2)
        workers = [f"w{number}" for number in range(THREADS)]
        found = [
            job
            for batch in threads.map(consume, brokers, workers, [store.clock()] * THREADS)
            for job in batch
        ]
    assert sorted(ids(found)) == sorted(ids(jobs))
    assert {job.attempt for job in found} == {1}
    if store.can(Capability.LOOKUP):
        # A transport may have given a job to one, and on to another who was faster: that takes a token.
        assert {job.token for job in found} == {1}
        assert store.do(store.broker.queues())[0].counts == {"succeeded": len(jobs)}
    assert store.claim(10) == []


def test_of_many_threads_with_one_key_one_stores_a_job(store: Store, other: Store) -> None:
    def add(broker: Broker) -> str:
        return broker.run(broker.enqueue([new_job(key="once")], {}))[0].id

    with ThreadPoolExecutor(THREADS) as threads:
        found = set(threads.map(add, [store.broker, other.broker] * (THREADS // 2)))
    assert ids(store.claim(10)) == list(found)


def test_many_operations_wait_together_on_an_event_loop(store: Store) -> None:
    async def crowd() -> list[str]:
        broker = store.broker
        stored = await asyncio.gather(*[broker.arun(broker.enqueue([new_job()], {})) for _ in range(100)])
        return [jobs[0].id for jobs in stored]

    stored = asyncio.run(crowd()) if store.runner is None else store.runner.run(crowd())
    assert sorted(ids(store.claim(1000))) == sorted(stored)


def test_a_cancelled_call_harms_nobody(store: Store) -> None:
    async def crowd() -> list[str]:
        broker = store.broker
        calls = [asyncio.ensure_future(broker.arun(broker.enqueue([new_job()], {}))) for _ in range(20)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        done = await asyncio.gather(*calls, return_exceptions=True)
        stored = [jobs[0].id for jobs in done if not isinstance(jobs, BaseException)]
        assert len(stored) >= 10
        if store.can(Capability.LOOKUP):
            found = await broker.arun(broker.get(stored))
            assert [job.state for job in found] == [State.QUEUED] * len(stored)
        return stored

    stored = asyncio.run(crowd()) if store.runner is None else store.runner.run(crowd())
    assert set(ids(store.claim(100))) >= set(stored)


def test_a_closed_broker_opens_again_when_it_is_used(store: Store) -> None:
    store.add()
    store.broker.close()
    store.broker.close()
    job = store.add()
    assert job.state is State.QUEUED
    if store.can(Capability.LOOKUP):
        assert store.state(job) is State.QUEUED
