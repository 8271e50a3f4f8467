"""What an operation of the PostgreSQL broker yields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from backburner.brokers.base import Operation
from backburner.brokers.postgres.rows import fresh_rows
from backburner.job import JobRecord


class Do(NamedTuple):
    """Execute a statement of `queries.sql`, which is atomic by itself; the reply is the list of its rows."""

    name: str
    parameters: Mapping[str, Any] = {}
    again: bool = True
    """Doing it twice does no harm: it is sent again when the connection broke before the answer came."""


class DoFresh(NamedTuple):
    """Store jobs whose ids nobody has seen yet, in one statement with those that others store just now.

    The reply is one row with the moment; nothing if it went wrong: who knows whether they are stored?
    """

    jobs: Sequence[JobRecord]
    moment: float | None


def together(steps: Sequence[DoFresh]) -> Do:
    """The one statement for several."""
    jobs = [job for step in steps for job in step.jobs]
    return Do("enqueue_fresh", {"moment": steps[0].moment, **fresh_rows(jobs)}, again=False)


def once(step: Do) -> Operation[None]:
    """An operation of one step, whose reply nobody needs."""
    yield step
