"""What is stored has a name of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from backburner.lifecycle import State
from backburner.testing.conformance.kit import KEEP, Store


def test_everybody_sees_the_same_name(store: Store, other: Store) -> None:
    name = store.do(store.broker.identity())
    assert name
    assert other.do(other.broker.identity()) == name


def test_the_name_stays_with_what_is_stored(store: Store, other: Store) -> None:
    name = store.do(store.broker.identity())
    store.end(store.in_state(State.RUNNING), "succeed")
    store.clock.advance(KEEP)
    store.do(store.broker.prune(10, 10))
    assert store.do(store.broker.identity()) == name == other.do(other.broker.identity())


def test_many_who_ask_first_are_told_one_name(store: Store, other: Store) -> None:
    both, start = [store.broker, other.broker], Barrier(8)

    def ask(number: int) -> str:
        start.wait()
        return both[number % 2].run(both[number % 2].identity())

    with ThreadPoolExecutor(8) as threads:
        assert len({*threads.map(ask, range(8))}) == 1
