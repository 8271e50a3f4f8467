"""Queues as a person sees them: depth, age, pauses, rates."""

from __future__ import annotations

from backburner.brokers.base import Bound, Capability, QueueInfo, Rate
from backburner.lifecycle import State
from backburner.testing.conformance.kit import Store, new_job


def queue(store: Store, name: str) -> QueueInfo:
    return {info.name: info for info in store.do(store.broker.queues())}[name]


def pause(store: Store, name: str, paused: bool) -> None:
    store.do(store.broker.set_queue(name, paused=paused))


def test_an_empty_store_has_no_queues(store: Store) -> None:
    assert store.do(store.broker.queues()) == []
    assert store.do(store.broker.tasks()) == []


def test_queues_say_how_many_jobs_are_in_each_state(store: Store) -> None:
    for state in State:
        if state is not State.BLOCKED:
            store.in_state(state, queue=state)
    store.add(queue="queued")
    counts = {info.name: info.counts for info in store.do(store.broker.queues())}
    assert counts == {
        state: {state: 2 if state is State.QUEUED else 1} for state in State if state is not State.BLOCKED
    }


def test_a_queue_says_since_when_its_first_job_waits(store: Store) -> None:
    assert store.add(queue="a").run_at == store.clock()
    store.clock.advance(5)
    store.add(queue="a", priority=9)
    store.add(queue="b", delay=60)
    assert queue(store, "a").oldest == store.clock() - 5
    assert queue(store, "b").oldest is None


def test_tasks_say_how_many_jobs_are_in_each_state(store: Store) -> None:
    store.add(task="a")
    store.clock.advance(5)
    store.add(task="a", queue="other")
    store.in_state(State.DEAD, task="b", queue="third")
    found = store.do(store.broker.tasks())
    assert [(info.name, info.counts, info.oldest) for info in found] == [
        ("a", {"queued": 2}, store.clock() - 5),
        ("b", {"dead": 1}, None),
    ]


def test_a_paused_queue_gives_nothing_and_takes_everything(store: Store, other: Store) -> None:
    job = store.add()
    pause(other, "default", True)
    store.add()
    assert store.claim(10) == []
    if store.can(Capability.LOOKUP):
        assert queue(store, "default").paused
    pause(other, "default", False)
    assert store.take().id == job.id
    if store.can(Capability.LOOKUP):
        assert not queue(store, "default").paused


def test_a_pause_stops_one_queue_only(store: Store) -> None:
    store.add(queue="a")
    job = store.add(queue="b")
    pause(store, "a", True)
    assert [each.id for each in store.claim(10, queues=("a", "b"))] == [job.id]
    assert store.claim(10, queues=("a", "b"), exclude=("nothing",)) == []


def test_what_runs_may_end_while_its_queue_is_paused(store: Store) -> None:
    job = store.in_state(State.RUNNING)
    pause(store, "default", True)
    assert store.end(job, "release") == []
    assert store.claim() == []


def test_a_queue_may_be_paused_before_it_has_a_job(store: Store) -> None:
    pause(store, "later", True)
    store.add(queue="later")
    assert store.claim(queues=("later",)) == []


def test_a_queue_shows_its_bound_and_keeps_it_when_it_is_paused(store: Store) -> None:
    bound = Bound(queue="default", max_length=7, on_full="drop_oldest")
    store.do(store.broker.set_queue("default", bound=bound))
    pause(store, "default", True)
    info = queue(store, "default")
    assert (info.max_length, info.on_full, info.paused) == (7, "drop_oldest", True)
    store.do(store.broker.set_queue("default", bound=Bound(queue="default", max_length=8)))
    info = queue(store, "default")
    assert (info.max_length, info.on_full, info.paused) == (8, "raise", True)


def test_rates_count_what_ended_by_queue_task_and_outcome(store: Store) -> None:
    for task, verb in (("a", "succeed"), ("a", "succeed"), ("a", "die"), ("b", "succeed")):
        store.add(task=task)
        claimed = store.take()
        store.clock.advance(2)
        store.end(claimed, verb)
    found = store.do(store.broker.rates(300))
    assert sorted(found, key=lambda rate: (rate.queue, rate.task, rate.outcome)) == [
        Rate("default", "a", "die", 1, 2.0),
        Rate("default", "a", "succeed", 2, 4.0),
        Rate("default", "b", "succeed", 1, 2.0),
    ]


def test_rates_forget_what_is_long_ago(store: Store) -> None:
    store.in_state(State.SUCCEEDED)
    store.clock.advance(600)
    assert store.do(store.broker.rates(300)) == []
    assert len(store.do(store.broker.rates(1200))) == 1


def test_refused_settlements_are_not_counted(store: Store) -> None:
    job = store.in_state(State.SUCCEEDED)
    store.end(job, "succeed")
    assert [rate.count for rate in store.do(store.broker.rates(300))] == [1]


def test_a_job_knows_how_many_are_ahead_of_it(store: Store) -> None:
    store.enqueue(*[new_job() for _ in range(3)])
    low, high = store.add(priority=-1), store.add(priority=1)
    store.enqueue(*[new_job(queue="other") for _ in range(3)])
    last = store.add()
    ahead = [store.do(store.broker.ahead(job, 100)) for job in (low, high, last)]
    assert ahead == [5, 0, 4]
    assert store.do(store.broker.ahead(last, 2)) == 2
