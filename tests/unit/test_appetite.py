"""How many jobs a worker asks for."""

from __future__ import annotations

from backburner.task import Kind
from backburner.worker.appetite import MOST_AHEAD, Appetite

QUICK = 1e-5
"""Seconds of a job; a round trip takes a thousand times as long."""


def after_many_quick_coroutines(slots: dict[Kind, int]) -> Appetite:
    appetite = Appetite(slots)
    for _ in range(50):
        appetite.exchanged(0.01, {Kind.COROUTINE: 100})
        appetite.ran(Kind.COROUTINE, QUICK)
    return appetite


def wanted(appetite: Appetite, slots: dict[Kind, int]) -> int:
    nothing = dict.fromkeys(slots, 0)
    return appetite.wanted(nothing, nothing).limit


def test_slots_for_a_kind_that_never_comes_do_not_hold_down_the_claims() -> None:
    alone, mixed = {Kind.COROUTINE: 100}, {Kind.COROUTINE: 100, Kind.PROCESS: 2}

    most = wanted(after_many_quick_coroutines(alone), alone)

    assert most == 100 + MOST_AHEAD // 2
    assert wanted(after_many_quick_coroutines(mixed), mixed) == most


def test_a_kind_that_comes_often_holds_the_claims_to_what_it_can_take() -> None:
    slots = {Kind.COROUTINE: 100, Kind.PROCESS: 2}
    appetite = after_many_quick_coroutines(slots)
    for _ in range(50):
        appetite.exchanged(0.01, {Kind.COROUTINE: 1, Kind.PROCESS: 1})

    assert wanted(appetite, slots) == 4
