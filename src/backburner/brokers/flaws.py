"""Stored records that are not as they should be: damaged, hostile, or of a newer version. Pure.

1. A broker reads a row the fast way. What cannot be read so, or is not `sound`, is read here, field by field.
2. A field that cannot be read gets its default, and `JobRecord.flaw` says which ones these are, and why. So a
   lookup shows the job like any other, and a worker that claims it quarantines it: it is dead at once.
3. A record may say that its format is a later one. It is no worse for that: the worker puts it off, for one
   that knows the format, as it does with a task whose code it has not.
4. What is stored beside jobs (a sign of life, a schedule, a line of history) has a stand-in that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

import msgspec

from backburner.brokers.base import Beat, StoredSchedule
from backburner.errors import BackburnerError
from backburner.job import FORMAT, NO_OPTIONS, JobRecord, Options
from backburner.lifecycle import Attempt, State
from backburner.schedule import Schedule
from backburner.words import storable

T = TypeVar("T")
UNREADABLE = "unreadable"
"""Stands where the name of a task would."""
DAMAGE = (
    msgspec.MsgspecError,
    BackburnerError,  # of a policy that makes no sense
    ValueError,  # bytes that are no UTF-8
    TypeError,
    LookupError,
    ArithmeticError,
    RecursionError,
)
"""What reading a damaged record raises."""
FAR = 1e12
"""Seconds: no time is so far from the epoch."""
MANY = 1_000_000_000
"""No job was claimed so often."""
NO_TEXT = "\ufffd"
"""Stands where bytes were no text."""
LENGTH = 200
"""Characters of one fault, in a flaw."""


class Format(msgspec.Struct):
    """Of options, the one thing that every version has to know."""

    format: int = 1


_options = msgspec.json.Decoder(Options)
_format = msgspec.json.Decoder(Format)
_attempt = msgspec.json.Decoder(Attempt)
_beat = msgspec.json.Decoder(Beat)
_schedule = msgspec.json.Decoder(Schedule)
_KINDS = {
    name: kind
    for name, kind in get_type_hints(JobRecord).items()
    if name not in ("options", "locator", "delay", "expires_in", "stamp", "flaw")
}


def options(stored: bytes | str | None) -> Options:
    """What is stored beside a job as JSON. Raises `DAMAGE`."""
    if stored is None:
        return NO_OPTIONS
    try:
        return _options.decode(stored)
    except DAMAGE:
        later = _format.decode(stored).format
        if later <= FORMAT:
            raise
        return Options(format=later)


def sound(job: JobRecord) -> bool:
    """Whether a worker can reckon with what it says: NaN is no time, and the next claim is counted."""
    return (
        -FAR < job.created_at + job.run_at < FAR
        and 0 <= job.attempt + job.token + job.crashes < MANY
        and NO_TEXT not in job.task
    )


def salvaged(row: Mapping[str, Any], locator: int = 0) -> JobRecord:
    """A job of what can be read of these fields; the value of one may be the error that it raised."""
    faults: list[str] = []
    job = JobRecord("", UNREADABLE, state=State.BLOCKED, locator=locator)
    for name, kind in _KINDS.items():
        try:
            value = row[name]
            if isinstance(value, Exception):
                raise value
            # SQLite knows no booleans.
            value = bool(value) if kind is bool else msgspec.convert(value, kind)
            if name == "token":
                job.token = value  # whatever it is, it fences
            setattr(job, name, _checked(name, value))
        except DAMAGE as error:
            faults.append(_fault(name, error))
    try:
        job.options = options(row["options"])
    except DAMAGE as error:
        faults.append(_fault("options", error))
    if faults:
        job.flaw = flaw("; ".join(faults))
    return job


def flaw(what: str) -> str:
    """Why a job is quarantined, and what to do about it."""
    return (
        f"quarantined: what is stored of it cannot be read ({what}); delete it and enqueue it again, "
        "or mend the record and retry it"
    )


def _checked(name: str, value: Any) -> Any:
    """Raises `ValueError` for what has the right type, and makes no sense."""
    if isinstance(value, float) and not -FAR < value < FAR:
        raise ValueError(f"{value!r} is no time")
    if name in ("attempt", "token", "crashes") and not 0 <= value < MANY:
        raise ValueError("nobody has counted that far")
    if name == "task" and NO_TEXT in value:
        raise ValueError(f"{value[:50]!r} was no UTF-8")
    return value


def _fault(name: str, error: Exception) -> str:
    if name == "state" and isinstance(error, msgspec.ValidationError):
        error = ValueError(f"this version knows none but {', '.join(State)}")
    return f"{name}: {storable(str(error))[:LENGTH]}"


# Beside jobs ----------------------------------------------------------------------------------------


def attempt(stored: bytes | str) -> Attempt:
    """A line of history."""
    try:
        return _attempt.decode(stored)
    except DAMAGE as error:
        said = f"this line of the history cannot be read: {error}"
        return Attempt(
            attempt=0,
            token=0,
            worker="",
            started_at=0.0,
            ended_at=0.0,
            outcome=UNREADABLE,
            message=storable(said[:LENGTH]),
        )


def beat(stored: bytes | str, worker: str) -> Beat:
    """A worker's sign of life."""
    try:
        return _beat.decode(stored)
    except DAMAGE:
        return Beat(worker=worker, lease=0.0, host=UNREADABLE)


def schedule(
    name: str, stored: bytes | str, next_at: float | None, last_job: str | None, paused: bool, declared: bool
) -> StoredSchedule:
    """A periodic task with where it stands; the stand-in never fires."""
    try:
        found = _schedule.decode(stored)
    except DAMAGE:
        found, next_at = Schedule(name=name, task=UNREADABLE), None
    return StoredSchedule(
        schedule=found, next_at=next_at, last_job=last_job, paused=bool(paused), declared=bool(declared)
    )
