"""After an exchange whose answer was lost, a worker learns what it had done."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from backburner.brokers.base import Capability, Recovered
from backburner.lifecycle import Settlement
from backburner.testing.conformance.kit import ENDINGS, Store, ids, needs, new_job


def recover(store: Store, settlements: Sequence[Settlement] = (), known: Sequence[str] = ()) -> Recovered:
    return store.do(store.broker.recover("w1", settlements, known))


@needs(Capability.UPKEEP)
def test_a_worker_is_given_again_what_it_was_given_and_does_not_know(store: Store) -> None:
    store.enqueue(*[new_job() for _ in range(3)])
    first, *unheard = store.claim(3)
    found = recover(store, known=[first.id])
    assert sorted(found.jobs, key=lambda job: job.id) == sorted(unheard, key=lambda job: job.id)
    assert found.applied == []
    assert store.settle(*[ENDINGS["succeed"](job, store.clock()) for job in (first, *found.jobs)]) == []


def test_a_worker_is_not_given_the_jobs_of_others(store: Store) -> None:
    store.enqueue(new_job(), new_job())
    store.claim(1, worker="w2")
    assert recover(store) == ([], [])


@needs(Capability.LOOKUP)
@pytest.mark.parametrize("verb", list(ENDINGS))
def test_a_settlement_that_was_written_is_known(store: Store, verb: str) -> None:
    store.add()
    settlement = ENDINGS[verb](store.take("w1"), store.clock())
    assert recover(store, [settlement]) == ([settlement.job], [])
    store.settle(settlement)
    assert recover(store, [settlement]) == ([], [settlement])


@needs(Capability.LOOKUP)
@pytest.mark.parametrize("verb", list(ENDINGS))
def test_a_settlement_that_somebody_was_faster_than_is_not_taken_for_written(store: Store, verb: str) -> None:
    store.add()
    claimed = store.take("w1")
    store.end(claimed, "release")
    store.end(store.take("w2"), verb)
    assert recover(store, [ENDINGS[verb](claimed, store.clock())]) == ([], [])


def test_a_settlement_of_a_deleted_job_is_not_taken_for_written(store: Store) -> None:
    job = store.add()
    settlement = ENDINGS["die"](store.take("w1"), store.clock())
    store.settle(settlement)
    store.do(store.broker.delete([job.id]))
    assert recover(store, [settlement]) == ([], [])


@needs(Capability.LOOKUP, Capability.UPKEEP)
def test_a_lost_answer_costs_no_job(store: Store) -> None:
    """One exchange settles and claims; nobody hears the answer."""
    store.enqueue(*[new_job() for _ in range(4)])
    old = store.claim(2)
    settlements = [ENDINGS["succeed"](job, store.clock()) for job in old]
    new = store.claim(2, settling=settlements)
    found = recover(store, settlements, ids(old))
    assert (sorted(ids(found.jobs)), found.applied) == (sorted(ids(new)), settlements)
