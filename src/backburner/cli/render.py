"""Jobs as people read them: one a row in a list, or one in full."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from backburner import job as jobs
from backburner.cli.output import Cell, Column, Styled, coloured, dim, lines, table
from backburner.job import JobRecord
from backburner.lifecycle import Attempt, State
from backburner.views import arguments
from backburner.words import span, when

if TYPE_CHECKING:
    from rich.console import RenderableType

COLUMNS = (Column("ID"), Column("STATE"), Column("WHEN"), Column("TASK", flexible=True))
SHOWS_WHY = frozenset({State.DEAD, State.RETRYING, State.CANCELLED, State.SCHEDULED})
LENGTH = 120


def job_table(found: Sequence[JobRecord], errors: Mapping[str, Attempt], now: float) -> RenderableType:
    """A row for each job; `errors` are their last failures."""
    return table(COLUMNS, [_row(job, errors.get(job.id), now) for job in found])


def _row(job: JobRecord, error: Attempt | None, now: float) -> Sequence[Cell]:
    why = _why(job, error) if job.state in SHOWS_WHY else ""
    task = lines(f"{job.task} in {job.queue}", dim(why) if why else None)
    return (job.id, coloured(job.state), when(_moment(job), now), task)


def _moment(job: JobRecord) -> float | None:
    """What matters of a job's times in its state."""
    match job.state:
        case State.RUNNING:
            return job.started_at
        case State.SUCCEEDED | State.DEAD | State.CANCELLED:
            return job.finished_at
        case _:
            return job.run_at


def _why(job: JobRecord, error: Attempt | None) -> str:
    said = f"{error.error}: {error.message}" if error else ""
    text = "; ".join(part for part in (job.reason, said) if part)
    line = " ".join(text.split())
    return line if len(line) <= LENGTH else f"{line[: LENGTH - 1]}…"


def job_page(job: JobRecord, history: Sequence[Attempt], now: float) -> list[RenderableType | Styled]:
    """Everything about one job."""
    facts = table((Column(""), Column("", flexible=True)), [*_facts(job, now)], headed=False)
    return [facts, *(part for each in history for part in _attempt(each, now))]


def _facts(job: JobRecord, now: float) -> Iterator[Sequence[Cell]]:
    args, kwargs = arguments(job.payload)
    why = job.reason or job.flaw
    state = f"{job.state}: {why}" if why else str(job.state)
    asked = ", was asked to stop" if job.cancel_requested and job.state is State.RUNNING else ""
    options = job.options
    rows: list[tuple[str, Cell]] = [
        ("id", job.id),
        ("task", job.task),
        ("queue", job.queue),
        ("priority", str(job.priority) if job.priority else ""),
        ("state", Styled(state + asked, coloured(job.state).style)),
        ("attempt", str(job.attempt)),
        ("crashes", str(job.crashes) if job.crashes else ""),
        ("worker", job.worker or ""),
        ("created", _time(job.created_at, now)),
        ("due", _time(job.run_at, now)),
        ("started", _time(job.started_at, now)),
        ("finished", _time(job.finished_at, now)),
        ("expires", _time(job.expires_at, now)),
        ("time limit", "" if options.timeout is None else span(options.timeout)),
        ("args", _json(bytes(args))),
        ("kwargs", ", ".join(f"{name}={_json(bytes(value))}" for name, value in kwargs.items())),
        ("tags", ", ".join(options.tags)),
        ("meta", ", ".join(f"{name}={value!r}" for name, value in options.meta.items())),
        ("idempotency key", job.key or ""),
        ("progress", _json(job.progress, null="")),
        ("checkpoint", _json(job.checkpoint, null="")),
        ("result", _json(job.result)),
    ]
    for name, value in rows:
        if value:
            yield Styled(name, "bold"), value


def _attempt(each: Attempt, now: float) -> Iterator[Styled]:
    took = span(each.ended_at - each.started_at)
    yield Styled("", "")
    yield Styled(
        f"attempt {each.attempt}: {each.outcome}, {when(each.ended_at, now)}, after {took}, on {each.worker}",
        "bold",
    )
    if each.traceback:
        yield dim(each.traceback.rstrip())
    elif each.message:
        yield dim(f"{each.error}: {each.message}" if each.error else each.message)


def _time(moment: float | None, now: float) -> str:
    return "" if moment is None else f"{jobs.when(moment)} ({when(moment, now)})"


def _json(data: bytes | None, null: str = "null") -> str:
    text = "" if data is None else data.decode(errors="replace")
    return null if text == "null" else text
