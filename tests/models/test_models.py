"""The life of a job is checked whole, within bounds. So is the check: it finds each way to build it wrong.

`FAULTS` bounds all of them together: deaths, leases that end under a living worker, lost messages, and
jobs that are given back.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.checker import explore
from tests.servers.fixtures import installed

pytestmark = pytest.mark.timeout(300)  # they compute: on a busy machine that is no hang


@pytest.mark.parametrize(
    "bounds",
    [
        ("JOBS=1", "FAULTS=2", "MAX_ATTEMPTS=2"),
        ("JOBS=1", "FAULTS=1", "MAX_ATTEMPTS=2", "RESCUERS=2"),
        ("JOBS=2", "FAULTS=1", "MAX_ATTEMPTS=1"),
    ],
    ids=" ".join,
)
def test_no_order_of_events_and_no_fault_breaks_a_promise(
    tmp_path: Path, bounds: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    found = installed(lambda: explore(tmp_path, *bounds))
    assert found.broken is None, "\n".join([found.broken or "", *found.story])
    with capsys.disabled():
        print(f"\nmodel: {' '.join(bounds)}: {found.states:,} states, all promises hold")


def test_everything_comes_to_rest(tmp_path: Path) -> None:
    found = installed(lambda: explore(tmp_path, "JOBS=1", "FAULTS=1", cycles=True))
    assert found.broken is None, "\n".join([found.broken or "", *found.story])


@pytest.mark.parametrize(
    ("variant", "promise", "bounds"),
    [
        ("NO_FENCE", "old_claim_settled", ()),
        ("NO_STATE_IN_GUARD", "final_state_left", ()),
        ("NO_TOKEN", "old_claim_settled", ()),
        ("LATE_BEAT_BRINGS_LEASE_BACK", "two_owners", ()),
        ("FIRST_BEAT_SENT_AGAIN_UNDER_ONE_NAME", "two_owners", ("FAULTS=2",)),
        ("RESCUE_COUNTS_NO_CRASH", "too_many_kills", ("FAULTS=2", "POISON_AFTER=1")),
        ("COMPLETION_OUTSIDE_TRANSACTION", "effect_twice", ()),
        ("COMPLETION_DOES_NOT_LOCK", "effect_twice", ()),
        ("COMPLETION_SETTLED_AS_SUCCEEDED", "success_without_effect", ()),
        ("COMPLETION_NOT_SETTLED", "job_lost", ()),
        ("REPORTS_WITHOUT_A_LOOK", "false_report", ()),
        ("RESCUE_WAITS_FOR_LOCKS", "job_lost", ("JOBS=2", "MAX_ATTEMPTS=1")),
        ("NO_RECOVER", "job_lost", ()),
        ("NO_SECOND_LOOK", "job_lost", ()),
        ("TAKES_UNDER_AN_EARLIER_NAME", "job_lost", ("FAULTS=2",)),
        ("KEEPS_WHAT_IT_IS_GIVEN_AGAIN", "taken_twice", ("JOBS=2", "MAX_ATTEMPTS=1")),
    ],
)
def test_a_variant_that_is_wrong_breaks_the_promise_that_it_should(
    tmp_path: Path, variant: str, promise: str, bounds: tuple[str, ...]
) -> None:
    given = {"JOBS": "1", "FAULTS": "1"} | dict(bound.split("=") for bound in bounds)
    found = installed(lambda: explore(tmp_path, variant, *map("=".join, given.items())))
    assert found.broken == promise, "\n".join(found.story)
    assert found.story
