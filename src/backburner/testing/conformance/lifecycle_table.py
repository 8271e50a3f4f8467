"""What the broker allows is what the table `lifecycle.TRANSITIONS` says: each verb in each state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from backburner.brokers.base import Capability
from backburner.job import JobRecord
from backburner.lifecycle import TRANSITIONS, Move, State
from backburner.testing.conformance.kit import ENDINGS, Store, needs

# A job is blocked only by others that it waits for, which no operation of a broker makes by itself.
STATES: list[State] = [state for state in State if state is not State.BLOCKED]
MOVES = [move for move in TRANSITIONS if move.verb != "unblock"]


def stage(store: Store, job: JobRecord) -> None:
    store.clock.advance(1000)
    store.stage()


def claim(store: Store, job: JobRecord) -> None:
    store.claim(10)


def cancel(store: Store, job: JobRecord) -> None:
    store.end(job, "cancel")
    store.do(store.broker.cancel([job.id], "enough", 60))


def revive(store: Store, job: JobRecord) -> None:
    store.do(store.broker.revive([job.id]))


ACTIONS: dict[str, Callable[[Store, JobRecord], object]] = {
    **{verb: partial(Store.end, verb=verb) for verb in ENDINGS},
    "stage": stage,
    "claim": claim,
    "cancel": cancel,
    "revive": revive,
}


@needs(Capability.LOOKUP, Capability.UPKEEP)
@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.verb)
@pytest.mark.parametrize("state", STATES)
def test_each_verb_moves_a_job_as_the_table_says(store: Store, state: State, move: Move) -> None:
    job = store.in_state(state)
    assert job.state is state
    ACTIONS[move.verb](store, job)
    assert store.state(job) is (move.target if state in move.sources else state)
