from __future__ import annotations

from pathlib import Path

import pytest

from backburner import lifecycle
from backburner.job import JobRecord
from backburner.lifecycle import FINAL, TRANSITIONS, WAITING, ErrorInfo, Settlement, State
from tests.docs.page import blocks

PAGE = Path(__file__).parents[2] / "docs" / "lifecycle.md"
BOOM = ErrorInfo("builtins.OSError", "boom", "Traceback …")
NOW = 1000.0


def running(**fields: object) -> JobRecord:
    base = {"attempt": 2, "token": 5, "worker": "w1", "started_at": 990.0, "run_at": 900.0, "crashes": 1}
    return JobRecord(id="j", task="t", state=State.RUNNING, **{**base, **fields})  # type: ignore[arg-type]


SETTLEMENTS = {
    "succeed": lifecycle.succeeded(running(), b"1", NOW, keep=60),
    "retry": lifecycle.retrying(running(), BOOM, 4, NOW),
    "die": lifecycle.dead(running(), BOOM, "no use", NOW),
    "cancel": lifecycle.cancelled(running(), "enough", NOW, keep=60),
    "snooze": lifecycle.snoozed(running(), 30, NOW),
    "release": lifecycle.released(running(), NOW),
    "crash": lifecycle.crashed(running(), NOW, poison_after=3),
    "poison": lifecycle.crashed(running(), NOW, poison_after=2),
}
MOVES = {move.verb: move for move in TRANSITIONS}


@pytest.mark.parametrize("verb", SETTLEMENTS)
def test_every_settlement_is_a_move_of_the_table(verb: str) -> None:
    settlement = SETTLEMENTS[verb]
    assert settlement.verb == verb
    assert State.RUNNING in MOVES[verb].sources
    assert settlement.state is MOVES[verb].target
    assert settlement.now == NOW


def test_every_move_that_ends_a_claim_has_a_constructor() -> None:
    assert {move.verb for move in TRANSITIONS if State.RUNNING in move.sources} == SETTLEMENTS.keys()


def test_a_verb_names_one_move() -> None:
    assert len(MOVES) == len(TRANSITIONS)


def test_from_every_state_that_is_not_final_a_job_gets_on() -> None:
    assert {source for move in TRANSITIONS for source in move.sources} >= set(State) - FINAL
    assert {move.target for move in TRANSITIONS} == set(State) - {State.BLOCKED}
    assert WAITING | FINAL | {State.RUNNING} == set(State)


def counts(settlement: Settlement) -> tuple[int, int]:
    return settlement.attempt, settlement.crashes


@pytest.mark.parametrize("verb", ["succeed", "retry", "die", "cancel", "poison"])
def test_an_attempt_that_ended_counts(verb: str) -> None:
    assert SETTLEMENTS[verb].attempt == 2


@pytest.mark.parametrize("verb", ["snooze", "release", "crash"])
def test_a_snooze_a_release_and_a_crash_give_the_attempt_back(verb: str) -> None:
    assert SETTLEMENTS[verb].attempt == 1


def test_only_crashes_are_counted_as_crashes() -> None:
    crashes = {verb: settlement.crashes for verb, settlement in SETTLEMENTS.items()}
    assert crashes == {**dict.fromkeys(SETTLEMENTS, 1), "crash": 2, "poison": 2}


def test_a_job_that_goes_back_is_due_when_it_says() -> None:
    due = {verb: settlement.run_at for verb, settlement in SETTLEMENTS.items()}
    assert due == {**dict.fromkeys(SETTLEMENTS, 900.0), "retry": NOW + 4, "snooze": NOW + 30}


def test_a_wait_below_nothing_means_now() -> None:
    assert lifecycle.retrying(running(), BOOM, -5, NOW).run_at == NOW
    assert lifecycle.snoozed(running(), -5, NOW).run_at == NOW


def test_dead_jobs_are_kept_until_somebody_deletes_them() -> None:
    kept = {verb: settlement.keep for verb, settlement in SETTLEMENTS.items()}
    assert kept == {**dict.fromkeys(SETTLEMENTS), "succeed": 60, "cancel": 60}


def test_what_went_wrong_is_written_into_the_history() -> None:
    log = SETTLEMENTS["retry"].log
    assert log is not None
    assert (log.outcome, log.attempt, log.token, log.worker) == ("retry", 2, 5, "w1")
    assert (log.started_at, log.ended_at) == (990.0, NOW)
    assert (log.error, log.message, log.traceback) == BOOM


def test_what_went_well_or_never_began_leaves_no_line() -> None:
    silent = {verb for verb, settlement in SETTLEMENTS.items() if settlement.log is None}
    assert silent == {"succeed", "snooze", "release"}


def test_a_release_after_a_start_leaves_a_line_that_says_why() -> None:
    log = lifecycle.released(running(), NOW, "interrupted").log
    assert log is not None
    assert (log.outcome, log.message) == ("release", "interrupted")


def test_reasons_are_kept_with_the_job() -> None:
    assert SETTLEMENTS["die"].reason == "no use"
    assert SETTLEMENTS["cancel"].reason == "enough"
    assert lifecycle.snoozed(running(), 5, NOW, "not yet").reason == "not yet"
    assert SETTLEMENTS["poison"].reason == "poison pill: its worker died 2 times while it ran"
    assert SETTLEMENTS["retry"].reason is None


def test_a_success_carries_its_result_and_what_follows() -> None:
    follow = JobRecord(id="next", task="t")
    settlement = lifecycle.succeeded(running(), b"[1]", NOW, keep=9, follow_ups=(follow,))
    assert (settlement.result, settlement.keep, settlement.follow_ups) == (b"[1]", 9, (follow,))


def test_a_constructor_leaves_the_claimed_record_alone() -> None:
    assert all(settlement.job == running() for settlement in SETTLEMENTS.values())


@pytest.mark.parametrize(
    ("given", "state", "run_at"),
    [
        ({}, State.QUEUED, NOW),
        ({"delay": 60.0}, State.SCHEDULED, NOW + 60),
        ({"delay": 0.0}, State.QUEUED, NOW),
        ({"delay": -60.0}, State.QUEUED, NOW),
        ({"run_at": NOW + 5}, State.SCHEDULED, NOW + 5),
        ({"run_at": NOW - 5}, State.QUEUED, NOW - 5),
    ],
    ids=str,
)
def test_a_new_job_is_queued_or_waits_for_its_time(
    given: dict[str, float], state: State, run_at: float
) -> None:
    job = lifecycle.entered(JobRecord(id="j", task="t", **given), NOW)  # type: ignore[arg-type]
    assert (job.state, job.run_at, job.created_at) == (state, run_at, NOW)


def test_an_expiry_becomes_absolute_when_the_job_enters() -> None:
    assert lifecycle.entered(JobRecord(id="j", task="t", expires_in=60), NOW).expires_at == NOW + 60
    assert lifecycle.entered(JobRecord(id="j", task="t"), NOW).expires_at is None


def test_a_job_refused_by_a_full_queue_may_enter_later() -> None:
    job = lifecycle.entered(JobRecord(id="j", task="t", delay=60, expires_in=90), NOW)
    job = lifecycle.entered(job, NOW + 10)
    assert (job.run_at, job.expires_at) == (NOW + 70, NOW + 100)


def test_the_diagram_in_the_documentation_is_the_table() -> None:
    [drawn] = [block.code for block in blocks(PAGE.read_text()) if block.language == "mermaid"]
    assert drawn.strip() == lifecycle.diagram()


def test_the_documentation_explains_every_move_and_every_state() -> None:
    text = PAGE.read_text()
    assert [move.verb for move in TRANSITIONS if f"| `{move.verb}` |" not in text] == []
    assert [state for state in State if f"| `{state}` |" not in text] == []


def test_a_release_that_a_rescue_forestalled_was_not_applied() -> None:
    """Else its worker would tell of a release that never was (found by a simulated world)."""
    release, crash = SETTLEMENTS["release"], SETTLEMENTS["crash"]
    rescued = running(attempt=crash.attempt, crashes=crash.crashes)
    rescued.state = crash.state
    assert lifecycle.applied(crash, rescued)
    assert not lifecycle.applied(release, rescued)
