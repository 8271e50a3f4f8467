"""The judge finds each promise that is broken on purpose, and nothing where all were kept."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from backburner.job import JobRecord
from backburner.lifecycle import State
from tests.oracle import (
    Accepted,
    Began,
    Deleted,
    Doubtful,
    Effect,
    Fired,
    Followed,
    Killed,
    Observation,
    Oracle,
    Ordered,
    Resumed,
    Returned,
    Revived,
    RolledBack,
    Saved,
    Saving,
    Settled,
    Struck,
    decode,
    encode,
)

DONE = JobRecord(id="a", task="t", state=State.SUCCEEDED, token=2, attempt=2, worker="w2")
FAILED = JobRecord(id="a", task="t", state=State.DEAD, token=2, attempt=2, worker="w2")
GONE = JobRecord(id="a", task="t", state=State.CANCELLED)
PARENT = JobRecord(id="p", task="t", state=State.SUCCEEDED, token=4)
STORY: list[Observation] = [
    Accepted("a"),
    Began("a", "w1", 1, 1),
    Settled("a", "w1", 1, State.RETRYING),
    Began("a", "w2", 2, 2),
    Returned("a", 2),
    Settled("a", "w2", 2, State.SUCCEEDED),
]
PILL = JobRecord(
    id="a", task="t", state=State.DEAD, token=4, crashes=3, reason="poison pill: its worker died 3 times"
)
KILLS: list[Observation] = [Accepted("a"), *(Killed("a", token) for token in (1, 2, 3))]
STRUCK: list[Observation] = [Accepted("a"), *(Struck("a", token, "k") for token in (1, 2, 3))]
STEPS: list[Observation] = [Accepted("a"), Saving("a", 1, 1), Saved("a", 1, 1), Saving("a", 1, 2)]
PARENTS: list[Observation] = [Accepted("p"), Returned("p", 4)]
NOTHING: dict[str, int] = {"running jobs": 0}


def judged(
    observations: list[Observation],
    stored: Mapping[str, JobRecord] | None,
    rest: Mapping[str, int] = NOTHING,
    dead: tuple[str, ...] = (),
    fires: Mapping[str, list[float]] | None = None,
) -> str:
    oracle = Oracle(max_attempts=3, poison_after=3)
    for each in observations:
        oracle.see(each)
    return "\n".join(oracle.verdict(stored, rest, dead=dead, fires=fires))


KEPT: dict[str, tuple[list[Observation], Mapping[str, JobRecord] | None]] = {
    "a job that was retried": (STORY, {"a": DONE}),
    "in another order, and half of it unwritten": (STORY[::-2] + STORY[:1], {"a": DONE}),
    "without lookups": (STORY, None),
    "a doubtful enqueue that was done": ([Doubtful("a"), *STORY[1:]], {"a": DONE}),
    "a doubtful enqueue that was not": ([Doubtful("a")], {}),
    "a rolled back one": ([RolledBack("a")], {}),
    "a deleted one": ([*STORY, Deleted("a")], {}),
    "a revived one": ([*STORY[:2], Settled("a", "w1", 1, State.DEAD), Revived("a"), *STORY[3:]], {"a": DONE}),
    "an effect": ([Accepted("a", True), Effect("a", 2)], {"a": DONE}),
    "no effect of a failure": ([Accepted("a", True), Began("a", "w", 1, 1)], {"a": FAILED}),
    "a follow-up": ([Followed("a", "p", 4), Returned("a", 2), *PARENTS], {"a": DONE, "p": PARENT}),
    "a poison pill": (KILLS, {"a": PILL}),
    "a poison pill of two killers": ([*STRUCK[:-1], Struck("a", 3, "l")], {"a": PILL}),
    "a poison pill of a killer that was revived": ([*STRUCK, Revived("k"), Deleted("k")], {"a": PILL}),
    "a checkpoint": ([*STEPS, Resumed("a", 2, 1)], {"a": FAILED}),
    "a checkpoint whose answer was lost": ([*STEPS, Resumed("a", 2, 2)], {"a": FAILED}),
    "a follow-up of an attempt that came to nothing": ([Followed("a", "p", 3), *PARENTS], {"p": PARENT}),
}


@pytest.mark.parametrize("story", KEPT)
def test_kept_promises_are_no_news(story: str) -> None:
    assert judged(*KEPT[story]) == ""


BROKEN: dict[str, tuple[list[Observation], Mapping[str, JobRecord] | None, str]] = {
    "lost": ([Accepted("a")], {}, "it is lost"),
    "lost, without lookups": ([Accepted("a"), Began("a", "w", 1, 1)], None, "it is lost"),
    "no end": ([Accepted("a")], {"a": JobRecord(id="a", task="t")}, "is queued at rest"),
    "rolled back and ran": ([RolledBack("a"), Began("a", "w", 1, 1)], {}, "rolled back, and ran"),
    "rolled back and stored": ([RolledBack("a")], {"a": GONE}, "rolled back, and is cancelled"),
    "out of nowhere": ([], {"a": DONE}, "nobody enqueued it"),
    "run out of nowhere": ([Returned("a", 2)], {"a": DONE}, "nobody enqueued it"),
    "two owners": ([*STORY, Began("a", "w9", 1, 1)], {"a": DONE}, "token 1 belongs to several workers"),
    "settled twice": ([*STORY, STORY[2]], {"a": DONE}, "token 1 was settled 2 times"),
    "ended twice": ([*STORY, Settled("a", "w1", 1, State.DEAD)], {"a": DONE}, "it ended 2 times"),
    "began after its end": ([*STORY, Began("a", "w3", 3, 3)], None, "token 3 began after token 2"),
    "a token went back": ([*STORY, Began("a", "w3", 3, 3)], {"a": DONE}, "token 3 was given"),
    "another end": (STORY, {"a": FAILED}, "ended as succeeded, and dead is stored"),
    "attempts": ([*STORY, Began("a", "w1", 1, 4)], {"a": DONE}, "attempt 4 began, of 3"),
    "stored attempts": (
        [Accepted("a")],
        {"a": JobRecord(id="a", task="t", state=State.DEAD, attempt=4)},
        "attempt 4 is stored",
    ),
    "crashes": (
        [Accepted("a")],
        {"a": JobRecord(id="a", task="t", state=State.DEAD, crashes=4)},
        "crashed 4 times, of 3",
    ),
    "no effect": ([Accepted("a", True), Returned("a", 2)], {"a": DONE}, "with 0 effects"),
    "two effects": (
        [Accepted("a", True), Effect("a", 1), Effect("a", 2)],
        {"a": DONE},
        "with 2 effects",
    ),
    "the effect of a failure": ([Accepted("a", True), Effect("a", 2)], {"a": FAILED}, "with effects of 2"),
    "the effect of a zombie": ([Accepted("a"), Effect("a", 1)], {"a": DONE}, "with effects of 1"),
    "success unearned": ([Accepted("a"), Returned("a", 1)], {"a": DONE}, "that attempt did not return"),
    "a lost follow-up": ([Followed("a", "p", 4), *PARENTS], {"p": PARENT}, "it is lost"),
    "a follow-up of a failure": (
        [Followed("a", "p", 3), Returned("a", 2), *PARENTS],
        {"a": DONE, "p": PARENT},
        "nobody enqueued it",
    ),
    "a fourth kill": ([*KILLS, Killed("a", 4)], {"a": PILL}, "it killed 4 workers"),
    "a pill that is none": (KILLS, {"a": FAILED}, "and is dead (None), no poison pill"),
    "suspects beside each other": (
        [*STRUCK[:-1], Struck("a", 3, "k", True), Struck("a", 4, "l")],
        {"a": PILL},
        "it ran beside k, both under suspicion",
    ),
    "an innocent": (STRUCK, {"a": PILL}, "k alone was guilty"),
    "a lost checkpoint": ([*STEPS, Resumed("a", 2, 0)], {"a": FAILED}, "and 1 was stored before it"),
    "a checkpoint of nobody": ([*STEPS, Resumed("a", 2, 3)], {"a": FAILED}, "which nobody had stored"),
    "a schedule fired twice": (
        [Fired("a", "s", 60.0), Fired("b", "s", 60.0), Returned("a", 1), Returned("b", 1)],
        None,
        "fired 2 times for 60",
    ),
}


@pytest.mark.parametrize("promise", BROKEN)
def test_each_broken_promise_is_found(promise: str) -> None:
    observations, stored, words = BROKEN[promise]
    assert words in judged(observations, stored)


def test_a_dead_letter_is_not_lost() -> None:
    assert judged([Accepted("a")], None, dead=("a",)) == ""
    assert "rolled back, and is a dead letter" in judged([RolledBack("a")], None, dead=("a",))


def test_what_is_left_at_rest_is_named() -> None:
    assert judged([], {}, {"running jobs": 0, "held slots": 2}) == "at rest: 2 held slots"


def test_a_schedule_fires_when_its_policy_says() -> None:
    fired: list[Observation] = [
        Fired("a", "s", 60.0),
        Fired("b", "s", 90.0),
        Returned("a", 1),
        Returned("b", 1),
    ]
    assert judged(fired, None, fires={"s": [60.0, 90.0]}) == ""
    found = judged(fired, None, fires={"s": [60.0, 120.0]})
    assert "s fired for 90, against its policy" in found
    assert "s missed 120, against its policy" in found


def test_a_broken_promise_comes_with_what_was_seen_of_the_job() -> None:
    found = judged([*STORY, *PARENTS], {"p": PARENT})
    assert "Began(job='a', worker='w1', token=1" in found
    assert "job='p'" not in found


def test_observations_travel_as_lines_and_a_torn_one_is_left_out() -> None:
    lines = b"".join(map(encode, STORY))
    assert decode(lines) == STORY
    assert decode(lines[:-5]) == STORY[:-1]


def test_who_sees_the_store_in_order_is_told_of_two_owners_and_of_zombies() -> None:
    oracle = Ordered(max_attempts=3, poison_after=3)
    oracle.claimed("a", "w1", 1)
    oracle.settled("a", "w1", 1)
    oracle.claimed("a", "w2", 2)
    assert oracle.verdict({}, {}) == []
    oracle.settled("a", "w1", 1)
    oracle.claimed("a", "w1", 3)
    oracle.claimed("b", "w1", 3)
    oracle.settled("b", "w1", 3)
    oracle.claimed("b", "w1", 2)
    found = oracle.verdict({}, {})
    assert [("a zombie" in found[0]), ("two owners" in found[1]), ("went back" in found[2])] == [True] * 3


def test_copies_of_a_job_count_tokens_of_their_own_and_may_not_be_lost_either() -> None:
    oracle = Oracle(max_attempts=3, poison_after=3, copies=True)
    seen: list[Observation] = [
        Accepted("a"),
        Began("a", "w1", 1, 1),
        Began("a", "w2", 1, 1),
        Settled("a", "w1", 1, State.SUCCEEDED),
        Settled("a", "w2", 1, State.SUCCEEDED),
        Accepted("b"),
    ]
    for each in seen:
        oracle.see(each)
    (broken,) = oracle.verdict(None, NOTHING)
    assert "b: it was accepted, and neither ran" in broken
