"""Jobs of another broker are taken over as they were there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from msgspec.structs import replace

from backburner.job import JobRecord, Options
from backburner.lifecycle import Attempt, State
from backburner.retry import Retry
from backburner.testing.conformance.kit import BOOM, Store, ids, new_job

STATES = [State.SCHEDULED, State.QUEUED, State.RETRYING, State.DEAD]


def foreign(store: Store, state: State = State.QUEUED, **fields: object) -> JobRecord:
    """A job that has lived elsewhere."""
    now = store.clock()
    lived = {
        "state": state,
        "payload": b'["a", {"b": 1}]',
        "queue": "mail",
        "priority": 7,
        "created_at": now - 3600,
        "run_at": now + 60 if state in (State.SCHEDULED, State.RETRYING) else now - 600,
        "expires_at": now + 7200,
        "attempt": 2,
        "token": 4,
        "crashes": 1,
        "worker": "elsewhere-1",
        "started_at": now - 700,
        "finished_at": now - 650 if state is State.DEAD else None,
        "reason": "no use" if state is State.DEAD else None,
        "progress": b"0.5",
        "checkpoint": b'{"row": 3}',
        "options": Options(retry=Retry(max_attempts=9), tags=("a",), meta={"user": 7}),
        "locator": 123,
    }
    return new_job(**{**lived, **fields})


def attempts(store: Store) -> list[Attempt]:
    return [
        Attempt(
            attempt=number,
            token=token,
            worker="elsewhere-1",
            started_at=store.clock() - 700,
            ended_at=store.clock() - 650,
            outcome="retry",
            error=BOOM.error,
            message=BOOM.message,
            traceback=BOOM.traceback,
        )
        for number, token in ((1, 2), (2, 4))
    ]


def adopt(store: Store, *jobs: JobRecord, histories: Mapping[str, Sequence[Attempt]] | None = None) -> int:
    return store.do(store.broker.adopt(jobs, histories or {}))


def same(one: JobRecord, other: JobRecord) -> bool:
    return replace(one, locator=0) == replace(other, locator=0)


@pytest.mark.parametrize("state", STATES)
def test_it_is_the_same_job_with_the_same_history(store: Store, other: Store, state: State) -> None:
    job = foreign(store, state)
    history = attempts(store)
    assert adopt(store, job, histories={job.id: history}) == 1
    assert same(other.read(job), job)
    assert other.history(job) == history
    [queue] = other.do(other.broker.queues())
    assert (queue.name, queue.counts) == ("mail", {state.value: 1})


def test_it_goes_on_where_it_was(store: Store) -> None:
    waits, due, dead = (foreign(store, state) for state in (State.QUEUED, State.RETRYING, State.DEAD))
    adopt(store, waits, due, dead)
    store.clock.advance(60)
    assert store.stage() == 1
    claimed = store.claim(10, queues=("mail",))
    assert [(job.id, job.attempt, job.token, job.crashes) for job in claimed] == [
        (waits.id, 3, 5, 1),
        (due.id, 3, 5, 1),
    ]
    assert store.do(store.broker.revive([dead.id])) == [dead.id]


def test_those_of_one_time_keep_their_order(store: Store) -> None:
    jobs = [foreign(store) for _ in range(20)]
    adopt(store, *jobs)
    assert ids(store.claim(20, queues=("mail",))) == ids(jobs)


def test_to_repeat_it_changes_nothing(store: Store) -> None:
    first, second = foreign(store), foreign(store)
    history = attempts(store)
    adopt(store, first, histories={first.id: history})
    store.claim(1, queues=("mail",))
    before = store.read(first)
    assert adopt(store, first, second, histories={first.id: history}) == 1
    assert store.read(first) == before
    assert store.history(first) == history
    assert store.exists(second)


def test_a_key_that_is_taken_leaves_the_job_out(store: Store) -> None:
    mine = store.add(key="once")
    theirs, free = foreign(store, key="once"), foreign(store, key="twice")
    assert adopt(store, theirs, free) == 1
    assert [store.exists(job) for job in (mine, theirs, free)] == [True, False, True]
    assert ids(store.enqueue(new_job(key="twice"))) == [free.id]


def test_it_wakes_who_waits_for_work(store: Store, other: Store) -> None:
    with other.broker.waiter(["queue:mail"]) as waiter:
        adopt(store, foreign(store))
        assert other.woken(waiter)
