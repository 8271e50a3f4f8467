"""Finding jobs: by id and by filter."""

from __future__ import annotations

from typing import Any

from backburner.brokers.base import Filter
from backburner.job import JobRecord, Options
from backburner.lifecycle import State
from backburner.testing.conformance.kit import Store, ids


def find(store: Store, **which: Any) -> list[JobRecord]:
    return store.do(store.broker.find(Filter(**which)))


def test_jobs_are_found_by_their_ids(store: Store) -> None:
    jobs = [store.add() for _ in range(3)]
    found = store.do(store.broker.get([jobs[0].id, "nobody", jobs[2].id]))
    assert sorted(ids(found)) == sorted([jobs[0].id, jobs[2].id])


def test_an_unknown_id_is_found_nowhere(store: Store) -> None:
    assert store.do(store.broker.get(["nobody"])) == []
    assert store.do(store.broker.get([])) == []
    assert store.do(store.broker.history("nobody")) == []


def test_the_newest_jobs_come_first(store: Store) -> None:
    jobs = [store.add(priority=priority) for priority in (1, 3, 2)]
    assert ids(find(store)) == ids(jobs[::-1])


def test_a_page_ends_at_its_limit_and_the_next_goes_on_from_there(store: Store) -> None:
    jobs = [store.add() for _ in range(5)][::-1]
    first = find(store, limit=2)
    second = find(store, limit=2, before=first[-1].id)
    third = find(store, limit=2, before=second[-1].id)
    assert ids([*first, *second, *third]) == ids(jobs)
    assert find(store, limit=2, before=third[-1].id) == []


def test_jobs_are_found_by_state(store: Store) -> None:
    jobs = {state: store.in_state(state, queue=state) for state in State if state is not State.BLOCKED}
    for state, job in jobs.items():
        assert ids(find(store, states=(state,))) == [job.id]
    assert ids(find(store, states=(State.DEAD, State.QUEUED))) == ids([jobs[State.DEAD], jobs[State.QUEUED]])
    assert find(store, states=(State.BLOCKED,)) == []


def test_jobs_are_found_by_queue_and_task(store: Store) -> None:
    jobs = [store.add(queue=queue, task=task) for queue in "ab" for task in "xy"]
    assert ids(find(store, queue="a")) == ids([jobs[1], jobs[0]])
    assert ids(find(store, task="y")) == ids([jobs[3], jobs[1]])
    assert ids(find(store, queue="b", task="x")) == [jobs[2].id]
    assert find(store, queue="c") == []


def test_jobs_are_found_by_tag(store: Store) -> None:
    tagged = store.add(options=Options(tags=("nightly", "big")))
    store.add(options=Options(tags=("nightly-not",), meta={"a": "\0 \\u0000"}))
    store.add()
    assert ids(find(store, tag="nightly")) == [tagged.id]
    assert ids(find(store, tag="big")) == [tagged.id]


def test_jobs_are_found_by_their_error(store: Store) -> None:
    died, retries = store.in_state(State.DEAD), store.in_state(State.RETRYING, queue="other")
    store.add()
    assert ids(find(store, error="storage is away")) == ids([retries, died])
    assert ids(find(store, error="no use")) == [died.id]
    assert find(store, error="100% nothing_") == []
