"""What a person does: cancel, revive, delete."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backburner.job import JobRecord
from backburner.lifecycle import FINAL, WAITING, State
from backburner.testing.conformance.kit import KEEP, Store, ids, new_job

REACHABLE: list[State] = [state for state in State if state is not State.BLOCKED]


def cancel(store: Store, *jobs: JobRecord) -> list[str]:
    return store.do(store.broker.cancel(ids(jobs), "enough", KEEP))


def revive(store: Store, *jobs: JobRecord) -> list[str]:
    return store.do(store.broker.revive(ids(jobs)))


def delete(store: Store, *jobs: JobRecord) -> list[str]:
    return store.do(store.broker.delete(ids(jobs)))


@pytest.mark.parametrize("state", [state for state in REACHABLE if state in WAITING])
def test_a_job_that_waits_is_cancelled_at_once(store: Store, state: State) -> None:
    job = store.in_state(state)
    assert cancel(store, job) == [job.id]
    found = store.read(job)
    assert (found.state, found.reason, found.finished_at) == (State.CANCELLED, "enough", store.clock())
    store.clock.advance(1000)
    store.stage()
    assert store.claim(worker="w9") == []


def test_a_job_that_runs_is_asked_to_stop(store: Store) -> None:
    job = store.in_state(State.RUNNING)
    assert cancel(store, job) == [job.id]
    found = store.read(job)
    assert (found.state, found.cancel_requested, found.reason) == (State.RUNNING, True, "enough")


def test_a_job_that_was_asked_to_stop_may_still_succeed(store: Store) -> None:
    job = store.in_state(State.RUNNING)
    cancel(store, job)
    assert store.end(job, "succeed") == []
    assert store.state(job) is State.SUCCEEDED


@pytest.mark.parametrize("state", sorted(FINAL))
def test_a_finished_job_cannot_be_cancelled(store: Store, state: State) -> None:
    job = store.in_state(state)
    assert cancel(store, job) == []
    assert store.read(job) == job


@pytest.mark.parametrize("state", [State.DEAD, State.CANCELLED])
def test_a_revived_job_runs_again_with_fresh_attempts(store: Store, state: State) -> None:
    job = store.in_state(state, expires_in=1)
    store.clock.advance(5)
    store.beat("w1")
    assert revive(store, job) == [job.id]
    found = store.take()
    assert (found.id, found.attempt, found.crashes, found.token) == (job.id, 1, 0, job.token + 1)
    assert (found.reason, found.finished_at, found.expires_at) == (None, None, None)
    assert not found.cancel_requested


def test_a_revived_poison_pill_is_given_all_its_chances_again(store: Store) -> None:
    job = store.in_state(State.RUNNING)
    store.end(job, "poison")
    assert store.read(job).crashes == 1
    revive(store, job)
    assert store.take().crashes == 0


def test_a_job_revived_after_a_cancelled_run_is_not_stopped_again(store: Store) -> None:
    job = store.in_state(State.RUNNING)
    cancel(store, job)
    store.end(job, "cancel")
    revive(store, job)
    assert not store.take().cancel_requested
    assert store.beat("w1").cancel == {}


def test_a_revived_job_keeps_its_history(store: Store) -> None:
    job = store.in_state(State.DEAD)
    revive(store, job)
    store.end(store.take(), "die")
    assert [(line.attempt, line.token) for line in store.history(job)] == [(1, 1), (1, 2)]


def test_a_revived_job_goes_to_the_end_of_the_line(store: Store) -> None:
    job = store.in_state(State.DEAD)
    waiting = store.add()
    store.clock.advance(1)
    revive(store, job)
    assert ids(store.claim(10)) == [waiting.id, job.id]


@pytest.mark.parametrize("state", [s for s in REACHABLE if s not in {State.DEAD, State.CANCELLED}])
def test_other_jobs_cannot_be_revived(store: Store, state: State) -> None:
    job = store.in_state(state)
    assert revive(store, job) == []
    assert store.read(job) == job


@pytest.mark.parametrize("state", [state for state in REACHABLE if state is not State.RUNNING])
def test_a_job_that_does_not_run_can_be_deleted(store: Store, state: State) -> None:
    job = store.in_state(state)
    assert delete(store, job) == [job.id]
    assert not store.exists(job)
    assert store.history(job) == []


def test_a_running_job_cannot_be_deleted(store: Store) -> None:
    job = store.in_state(State.RUNNING)
    assert delete(store, job) == []
    assert store.end(job, "succeed") == []


def test_many_jobs_are_handled_at_once_and_the_answer_names_those_it_fits(store: Store) -> None:
    jobs = {state: store.in_state(state, queue=state) for state in REACHABLE}
    every = [*jobs.values(), new_job()]
    fit: dict[Callable[..., list[str]], set[State]] = {
        cancel: {State.SCHEDULED, State.QUEUED, State.RUNNING, State.RETRYING},
        revive: {State.DEAD, State.CANCELLED, State.SCHEDULED, State.QUEUED, State.RETRYING},
        delete: set(REACHABLE) - {State.RUNNING},
    }
    for act, states in fit.items():
        assert sorted(act(store, *every)) == sorted(jobs[state].id for state in states)


def test_a_long_list_is_no_trouble(store: Store) -> None:
    jobs = [new_job() for _ in range(2000)]
    store.enqueue(*jobs[:1000])
    store.enqueue(*jobs[1000:])
    assert len(cancel(store, *jobs)) == 2000
    assert len(revive(store, *jobs)) == 2000
    assert len(store.do(store.broker.get(ids(jobs)))) == 2000
    assert len(delete(store, *jobs)) == 2000


def test_no_jobs_are_no_trouble(store: Store) -> None:
    kept = store.add()
    assert [act(store) for act in (cancel, revive, delete)] == [[], [], []]
    assert store.state(kept) is State.QUEUED
