"""Wake-ups: who waits learns of work, results and directives without polling."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from backburner.brokers.base import Capability
from backburner.lifecycle import State
from backburner.testing.conformance.kit import Store, needs
from backburner.testing.conformance.schedules import save

EVENTS: dict[str, tuple[str, Callable[[Store], object]]] = {
    "a new job": ("queue:default", lambda store: store.add()),
    "a released job": ("queue:default", lambda store: store.end(store.take(), "release")),
    "a revived job": ("queue:dead", lambda store: store.do(store.broker.revive(["dead"]))),
    "a queue that goes on": ("queue:q", lambda store: store.do(store.broker.set_queue("q", paused=False))),
    "a job for later": ("stage", lambda store: store.add(delay=1)),
    "a job to try again": ("stage", lambda store: store.end(store.take(), "retry")),
    "a new schedule": ("stage", save),
    "a schedule that goes on": ("stage", lambda store: store.do(store.broker.pause_schedule("old", False))),
    "a finished job": ("job:first", lambda store: store.end(store.take(), "succeed")),
    "a cancelled job": ("job:first", lambda store: store.do(store.broker.cancel(["first"], "enough", 60))),
    "a request to stop": ("worker:w1", lambda store: store.do(store.broker.cancel(["runs"], "enough", 60))),
}


@pytest.mark.parametrize("event", EVENTS)
def test_what_happens_wakes_who_listens(store: Store, other: Store, event: str) -> None:
    topic, happens = EVENTS[event]
    if not topic.startswith("queue:"):
        store.broker.require(Capability.LOOKUP, Capability.UPKEEP)
    if store.can(Capability.LOOKUP):
        store.in_state(State.DEAD, id="dead", queue="dead")
    store.in_state(State.RUNNING, id="runs", queue="runs")
    store.do(store.broker.set_queue("q", paused=True))
    store.add(queue="q")
    store.add(id="first")
    if store.can(Capability.SCHEDULES):
        save(store, name="old")
        store.do(store.broker.pause_schedule("old", True))
    with other.broker.waiter([topic]) as waiter:
        happens(store)
        assert other.woken(waiter)


@needs(Capability.UPKEEP)
def test_a_job_that_comes_due_wakes_a_worker(store: Store, other: Store) -> None:
    store.add(delay=10)
    with other.broker.waiter(["queue:default"]) as waiter:
        store.clock.advance(10)
        store.stage()
        assert other.woken(waiter)


@needs(Capability.UPKEEP)
def test_a_job_of_a_dead_worker_wakes_a_living_one(store: Store, other: Store) -> None:
    store.in_state(State.RUNNING)
    store.clock.advance(1000)
    with other.broker.waiter(["queue:default"]) as waiter:
        store.rescue()
        assert other.woken(waiter)


def test_one_waiter_may_listen_to_much(store: Store, other: Store) -> None:
    topics = [f"queue:{number}" for number in range(100)]
    with other.broker.waiter(topics) as waiter:
        store.add(queue="57")
        assert other.woken(waiter)


def test_a_waiter_for_nothing_in_particular_harms_nobody(store: Store, other: Store) -> None:
    with other.broker.waiter([]) as waiter:
        store.end(store.in_state(State.RUNNING), "succeed")
        assert not waiter.wait(0.01)


def test_a_wait_ends_with_its_time(store: Store) -> None:
    with store.broker.waiter(["queue:default"]) as waiter:
        assert not waiter.wait(0.01)


def test_who_waits_in_another_thread_is_woken(store: Store, other: Store) -> None:
    woken: list[bool] = []
    listening = threading.Event()

    def wait() -> None:
        with store.broker.waiter(["queue:default"]) as waiter:
            listening.set()
            woken.extend(True for _ in range(30) if not woken and waiter.wait(1))

    thread = threading.Thread(target=wait)
    thread.start()
    assert listening.wait(30)
    other.add()
    thread.join()
    assert woken == [True]
