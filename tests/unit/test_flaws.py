"""What can be read of a damaged record is read, and the rest is named."""

from __future__ import annotations

import pytest
from msgspec.structs import asdict

from backburner.brokers import flaws
from backburner.job import JobRecord
from backburner.lifecycle import State

UNSTORED = ("delay", "expires_in", "stamp", "flaw")
"""Fields that no broker stores."""


def stored(**damage: object) -> dict[str, object]:
    job = JobRecord("an id", "mail", state=State.RUNNING, created_at=1.0, run_at=1.0, token=2, attempt=1)
    fields = {name: value for name, value in asdict(job).items() if name not in UNSTORED}
    return {**fields, "options": None, **damage}


def test_a_record_that_is_whole_has_no_flaw() -> None:
    job = flaws.salvaged(stored())

    assert (job.flaw, job.id, job.token) == (None, "an id", 2)


@pytest.mark.parametrize(
    "damage", [{"created_at": "yesterday"}, {"attempt": -1}, {"options": b"{"}], ids=lambda each: str([*each])
)
def test_a_flaw_names_what_is_damaged_and_nothing_else(damage: dict[str, object]) -> None:
    job = flaws.salvaged(stored(**damage))

    assert job.flaw is not None
    named = [name for name in JobRecord.__struct_fields__ if f"{name}: " in job.flaw]
    assert named == [*damage]
