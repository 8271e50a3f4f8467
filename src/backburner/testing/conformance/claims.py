"""Claims, their fencing tokens, and the settlements that end them."""

from __future__ import annotations

import pytest

from backburner.brokers.base import Capability, Claim
from backburner.job import Options
from backburner.lifecycle import State
from backburner.retry import Retry
from backburner.testing.conformance.kit import BOOM, ENDINGS, KEEP, Store, ids, needs, new_job


def test_a_claimed_job_is_running_and_says_where(store: Store) -> None:
    job = store.add()
    store.clock.advance(3)
    claimed = store.take("w1")
    assert claimed.id == job.id
    assert (claimed.state, claimed.worker, claimed.started_at) == (State.RUNNING, "w1", store.clock())
    assert (claimed.attempt, claimed.token) == (1, 1)
    if store.can(Capability.LOOKUP):
        assert store.read(job) == claimed


def test_a_claim_brings_all_that_the_worker_needs(store: Store) -> None:
    store.clock.advance(1 / 7)
    options = Options(retry=Retry(max_attempts=2), timeout=5, tags=("a", "é"), meta={"by": ["me", None, 1.5]})
    payload = b'["\xf0\x9f\x93\xb7 \\u0000 \\" \xc3\xa9", {"n": 1e300}]' + b" " * 100_000
    store.add(payload=payload, priority=7, key="k'\"", expires_in=900, options=options)
    claimed = store.take()
    store.do(store.broker.note(claimed, b"1", b'{"row": [7, "\\u0000"]}'))
    store.end(claimed, "crash")
    claimed = store.take()
    assert claimed == store.read(claimed)
    assert (claimed.payload, claimed.options, claimed.crashes) == (payload, options, 1)
    assert claimed.checkpoint == b'{"row": [7, "\\u0000"]}'


def test_a_job_is_claimed_as_it_was_given(store: Store) -> None:
    odd = "naïve 'quoted' \"both\" %s {0} \\ 📷 ;--"
    options = Options(retry=Retry(max_attempts=2), timeout=5, tags=("a", "é"), meta={"by": ["me", None, 1.5]})
    payload = b'["\xf0\x9f\x93\xb7 \\u0000 \\" \xc3\xa9", {"n": 1e300}]' + b" " * 100_000
    job = store.add(task=odd, queue=odd, payload=payload, priority=7, expires_in=900, options=options)
    [claimed] = store.claim(queues=(odd,))
    assert (claimed.id, claimed.task, claimed.queue, claimed.priority) == (job.id, odd, odd, 7)
    assert (claimed.payload, claimed.options, claimed.crashes) == (payload, options, 0)
    times = [claimed.created_at, (claimed.expires_at or 0) - 900]
    assert times == [pytest.approx(store.clock(), abs=0.001)] * 2


def test_times_are_kept_to_the_millisecond(store: Store) -> None:
    store.clock.advance(0.123456789)
    now = store.clock()
    job = store.add(expires_in=900)
    claimed = store.take()
    for found in (claimed, store.read(job)):
        times = [found.created_at, found.run_at, found.started_at, (found.expires_at or 0) - 900]
        assert times == [pytest.approx(now, abs=0.001)] * 4
    store.end(claimed, "retry")
    assert store.read(job).run_at == pytest.approx(now + 10, abs=0.001)


def test_a_claimed_job_is_given_to_nobody_else(store: Store, other: Store) -> None:
    store.add()
    store.take("w1")
    assert other.claim(10, worker="w2") == []


def test_a_claim_on_an_empty_queue_gives_nothing(store: Store) -> None:
    assert store.claim(10) == []


@needs(Capability.UPKEEP)
def test_a_worker_that_the_broker_does_not_know_is_given_nothing(store: Store) -> None:
    job = store.add()
    claim = Claim(worker="stranger", queues=("default",), limit=1)
    assert store.do(store.broker.exchange([], claim)).jobs == []
    assert store.state(job) is State.QUEUED


@needs(Capability.UPKEEP)
def test_each_claim_of_a_job_has_a_larger_token(store: Store) -> None:
    store.add()
    tokens = []
    for verb in ("release", "snooze", "crash", "retry", "release"):
        claimed = store.take()
        tokens.append(claimed.token)
        store.end(claimed, verb)
        store.clock.advance(60)
        store.beat("w1")
        store.stage()
    tokens.append(store.take().token)
    assert tokens == sorted(set(tokens))


def test_each_claim_of_a_job_that_came_back_has_a_larger_token(store: Store) -> None:
    store.add()
    tokens = []
    for verb in ("release", "crash", "release"):
        claimed = store.take()
        tokens.append(claimed.token)
        store.end(claimed, verb)
    tokens.append(store.take().token)
    assert tokens == sorted(set(tokens))


def test_a_result_is_stored_with_the_success(store: Store, other: Store) -> None:
    job = store.add()
    claimed = store.take()
    store.clock.advance(2)
    assert store.end(claimed, "succeed") == []
    found = other.read(job)
    assert (found.state, found.result, found.finished_at) == (State.SUCCEEDED, b'"done"', store.clock())


def test_one_exchange_settles_and_claims(store: Store) -> None:
    first, second = store.add(), store.add()
    claimed = store.take()
    done = ENDINGS["succeed"](claimed, store.clock())
    assert ids(store.claim(5, settling=[done])) == [second.id]
    assert store.settle(done) == [first.id]
    if store.can(Capability.LOOKUP):
        assert store.state(first) is State.SUCCEEDED


def test_a_job_released_in_an_exchange_can_be_claimed_in_it(store: Store) -> None:
    store.add()
    claimed = store.take()
    again = store.claim(settling=[ENDINGS["release"](claimed, store.clock())])
    assert [(job.id, job.token) for job in again] == [(claimed.id, claimed.token + 1)]


def test_many_settlements_travel_together(store: Store) -> None:
    for _ in range(8):
        store.add()
    claimed = store.claim(8)
    verbs = list(ENDINGS)
    assert (
        store.settle(*[ENDINGS[v](job, store.clock()) for v, job in zip(verbs, claimed, strict=True)]) == []
    )
    assert store.settle(*[ENDINGS["die"](job, store.clock()) for job in claimed]) == ids(claimed)
    if not store.can(Capability.LOOKUP):
        return
    states = [store.state(job).value for job in claimed]
    assert states == ["succeeded", "retrying", "dead", "cancelled", "scheduled", "queued", "queued", "dead"]


@pytest.mark.parametrize("verb", list(ENDINGS))
def test_a_second_settlement_of_one_claim_is_refused(store: Store, verb: str) -> None:
    store.add()
    claimed = store.take()
    store.end(claimed, "succeed")
    looks = store.can(Capability.LOOKUP)
    before = store.read(claimed) if looks else None
    assert store.end(claimed, verb) == [claimed.id]
    assert store.claim(10) == []
    if looks:
        assert store.read(claimed) == before
        assert store.history(claimed) == []


@pytest.mark.parametrize("verb", list(ENDINGS))
def test_a_claim_that_has_ended_in_any_way_is_not_settled_again(store: Store, verb: str) -> None:
    store.add()
    claimed = store.take()
    assert store.end(claimed, verb) == []
    assert store.end(claimed, "succeed") == [claimed.id]


@pytest.mark.parametrize("verb", list(ENDINGS))
def test_a_settlement_with_an_old_token_is_refused(store: Store, verb: str) -> None:
    store.add()
    stale = store.take("w1")
    store.end(stale, "release")
    current = store.take("w2")
    assert store.end(stale, verb) == [stale.id]
    if store.can(Capability.LOOKUP):
        assert store.read(stale) == current
    assert store.end(current, "succeed") == []


def test_a_refused_settlement_takes_none_of_its_batch_with_it(store: Store) -> None:
    jobs = [store.add() for _ in range(4)]
    claimed = store.claim(4)
    store.end(claimed[1], "release")
    lost = store.settle(*[ENDINGS["die"](job, store.clock()) for job in claimed])
    assert lost == [jobs[1].id]
    if store.can(Capability.LOOKUP):
        assert [store.state(job) for job in jobs] == [State.DEAD, State.QUEUED, State.DEAD, State.DEAD]
        assert [len(store.history(job)) for job in jobs] == [1, 0, 1, 1]
    assert ids(store.claim(10)) == lost


def test_a_claim_settled_twice_in_one_batch_is_settled_once(store: Store) -> None:
    store.add()
    claimed = store.take()
    settlements = [ENDINGS["succeed"](claimed, store.clock()), ENDINGS["die"](claimed, store.clock())]
    assert store.settle(*settlements) == [claimed.id]
    if store.can(Capability.LOOKUP):
        assert store.state(claimed) is State.SUCCEEDED


def test_a_settlement_of_a_deleted_job_is_refused(store: Store) -> None:
    job = store.add()
    claimed = store.take()
    store.end(claimed, "release")
    store.do(store.broker.delete([job.id]))
    assert store.end(claimed, "succeed") == [job.id]
    assert not store.exists(job)


def test_a_failure_is_kept_in_the_history(store: Store) -> None:
    store.add()
    claimed = store.take("w1")
    store.clock.advance(4)
    store.end(claimed, "retry")
    [line] = store.history(claimed)
    assert (line.outcome, line.attempt, line.token, line.worker) == ("retry", 1, 1, "w1")
    assert (line.started_at, line.ended_at) == (claimed.started_at, store.clock())
    assert (line.error, line.message, line.traceback) == BOOM


def test_the_history_holds_every_attempt_oldest_first(store: Store) -> None:
    job = store.add()
    for verb in ("retry", "crash", "retry", "die"):
        store.end(store.take(), verb)
        store.clock.advance(20)
        store.beat("w1")
        store.stage()
    assert [line.outcome for line in store.history(job)] == ["retry", "crash", "retry", "die"]
    assert [line.attempt for line in store.history(job)] == [1, 2, 2, 3]
    assert [line.token for line in store.history(job)] == [1, 2, 3, 4]


def test_a_snooze_and_a_release_burn_no_attempt(store: Store) -> None:
    store.add()
    store.end(store.take(), "snooze")
    store.clock.advance(20)
    store.beat("w1")
    store.stage()
    store.end(store.take(), "release")
    claimed = store.take()
    assert (claimed.attempt, claimed.token) == (1, 3)
    assert store.history(claimed) == []


def test_a_dead_job_says_why(store: Store) -> None:
    job = store.in_state(State.DEAD)
    assert (job.reason, job.finished_at) == ("no use", store.clock())


def test_settling_in_a_later_state_of_the_clock_uses_the_settlements_time(store: Store) -> None:
    store.add()
    settlement = ENDINGS["succeed"](store.take(), store.clock())
    store.clock.advance(KEEP)
    store.settle(settlement)
    assert store.read(settlement.job).finished_at == store.clock() - KEEP


def test_a_large_batch_is_claimed_and_settled(store: Store) -> None:
    store.enqueue(*[new_job() for _ in range(500)])
    claimed = store.claim(500)
    assert len(claimed) == 500
    assert store.settle(*[ENDINGS["succeed"](job, store.clock()) for job in claimed]) == []
    if store.can(Capability.LOOKUP):
        assert store.do(store.broker.queues())[0].counts == {"succeeded": 500}
