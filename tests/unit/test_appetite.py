"""How many jobs a worker asks for, as the kinds of its tasks have room."""

from __future__ import annotations

from collections import Counter

from backburner.task import Kind
from backburner.worker.appetite import Appetite

COROUTINE, THREAD, PROCESS = Kind.COROUTINE, Kind.THREAD, Kind.PROCESS
SLOTS = {COROUTINE: 100, THREAD: 8, PROCESS: 2}


def wanted(appetite: Appetite, **running: int) -> tuple[int, set[Kind]]:
    busy = {kind: running.get(kind.name.lower(), 0) for kind in SLOTS}
    limit, full = appetite.wanted(busy, Counter())
    return limit, set(full)


def after(brought: dict[Kind, int], *full: Kind, appetite: Appetite | None = None) -> Appetite:
    """Fifty exchanges of a millisecond that brought the same."""
    appetite = appetite or Appetite(SLOTS)
    for _ in range(50):
        appetite.exchanged(0.001, brought, full)
    return appetite


def test_a_kind_that_never_comes_does_not_hold_back_the_others() -> None:
    appetite = after({THREAD: 500})
    appetite.ran(THREAD, 0.000_01)
    assert wanted(appetite)[0] > 400


def test_past_a_full_kind_it_asks_for_no_more_than_the_others_can_run() -> None:
    """It was 2,000 for two slots, where functions had filled theirs. RabbitMQ delivered as many."""
    limit, full = wanted(after({THREAD: 500}), thread=8)
    assert full == {THREAD}
    assert limit <= 2 * len(SLOTS)


def test_past_a_full_kind_it_learns_what_comes_of_the_others() -> None:
    appetite = after({COROUTINE: 4}, THREAD, appetite=after({THREAD: 500}))
    assert wanted(appetite, thread=8)[0] > 90


def test_what_came_past_a_full_kind_says_nothing_of_that_kind() -> None:
    """Or the one free slot of long functions is given a hundred of them, which wait there for a second."""
    appetite = after({THREAD: 50, COROUTINE: 50})
    before = wanted(appetite, thread=7)
    assert before == (2, set())
    after({COROUTINE: 50}, THREAD, appetite=appetite)
    assert wanted(appetite, thread=7) == before


def test_the_mix_remains_one_however_long_it_goes_on() -> None:
    appetite = Appetite(SLOTS)
    for number in range(20_000):
        appetite.exchanged(0.001, {list(SLOTS)[number % 3]: 7}, [THREAD] if number % 3 == 0 else [])
    assert 3 <= wanted(appetite)[0] <= 8


def test_what_is_in_hand_lasts_until_the_next_answer() -> None:
    """A thousand slots, jobs of 50 ms, and 25 ms for an exchange, in which 500 of them end."""
    slots, ending = 1000, 500
    appetite = Appetite({COROUTINE: slots})
    for _ in range(50):
        appetite.exchanged(0.025, {COROUTINE: ending})
        appetite.ran(COROUTINE, 0.05)
    waiting, empty = 0, list[int]()
    for _ in range(10):
        asked = appetite.wanted({COROUTINE: slots}, {COROUTINE: waiting}).limit
        empty.append(max(0, ending - waiting))
        waiting = max(0, waiting - ending) + asked
    assert empty[3:] == [0] * 7


def test_a_lump_of_jobs_that_end_at_once_finds_successors_where_the_broker_answers_quickly() -> None:
    """A thousand of 50 ms at once are twenty in a millisecond, and may be a hundred in the next."""
    appetite = Appetite({COROUTINE: 1000})
    appetite.ran(COROUTINE, 0.05)
    appetite.exchanged(0.000_1, {COROUTINE: 1000})
    assert appetite.wanted({COROUTINE: 1000}, {COROUTINE: 0}).limit == 200
    assert appetite.wanted({COROUTINE: 1000}, {COROUTINE: 200}).limit == 0


def test_long_jobs_are_not_hoarded() -> None:
    appetite = Appetite({COROUTINE: 10})
    for _ in range(50):
        appetite.exchanged(0.002, {COROUTINE: 1})
        appetite.ran(COROUTINE, 1.0)
    assert appetite.wanted({COROUTINE: 10}, {COROUTINE: 0}).limit == 0
