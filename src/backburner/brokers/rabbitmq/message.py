"""A job as a message, and back.

The body is the job's arguments, as they are: JSON that a person can read in RabbitMQ's own tools. The rest
of the record is one header, `job`; its history, if it has one, another. A dead job's error and reason are
headers, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from backburner.brokers import flaws
from backburner.brokers.flaws import UNREADABLE
from backburner.brokers.rabbitmq import wire
from backburner.brokers.rabbitmq.schema import FRONT, SUSPECTS, Part, Route, Schema, band_of
from backburner.brokers.rabbitmq.wire import NO_HEADERS, Properties
from backburner.errors import BrokerError
from backburner.job import FORMAT, JobRecord, Options, new_id, when
from backburner.lifecycle import FINAL, Attempt, Settlement, State
from backburner.words import storable

MOST = 100_000
"""Bytes of a job's header: all headers of a message have to fit into one frame of 128 KiB."""
GROWTH = 2_000
"""Bytes that are left for what is written into it once the job was claimed."""
HISTORY = 20_000
"""Bytes of the history's header; the oldest tracebacks go first."""
SHORT = 255
"""Bytes of a property, at most."""
FAR = 10**9
"""No priority is so high."""
CHANGES = ("state", "run_at", "attempt", "token", "crashes", "worker", "started_at", "finished_at", "reason")
"""What changes of a job while it lives."""

NO_ARGUMENTS = JobRecord("", "").payload


class Message(NamedTuple):
    """What is published, and where."""

    route: Route
    body: bytes
    properties: Properties
    mandatory: bool = True
    """Whether it has to find a queue."""


class Received(NamedTuple):
    """What was delivered."""

    job: JobRecord
    history: list[Attempt]
    store: str
    """The identity of the results store that knows the job; empty if none does."""
    beyond: str = ""
    """The header of a job in a later format, of which this version does not know all."""


class _Later(msgspec.Struct):
    """As much of a job in a later format as is needed to put it off."""

    id: str
    options: flaws.Format
    task: str = UNREADABLE
    priority: int = 0
    attempt: int = 0
    token: int = 0


_encode = msgspec.json.Encoder().encode
_job = msgspec.json.Decoder(JobRecord)
_history = msgspec.json.Decoder(list[Attempt])
_later = msgspec.json.Decoder(_Later)
_document = msgspec.json.Decoder(dict[str, msgspec.Raw])
_told = msgspec.json.Decoder(tuple[str, bool | None])


def of(
    schema: Schema,
    job: JobRecord,
    now: float,
    *,
    store: str = "",
    history: Sequence[Attempt] = (),
    beyond: str = "",
) -> Message:
    """The message for a job that waits; until it is due, in the levels of delay. Raises `BrokerError`."""
    delay = job.run_at - now if job.state in (State.SCHEDULED, State.RETRYING) else 0.0
    return _message(schema.route(job.queue, band_of(job.priority), delay), job, history, store, beyond=beyond)


def returned(
    schema: Schema,
    job: JobRecord,
    *,
    suspect: bool = False,
    store: str = "",
    history: Sequence[Attempt] = (),
    beyond: str = "",
) -> Message:
    """The message for a job that comes back to its place in line, or to the queue of suspects."""
    band = SUSPECTS if suspect else FRONT
    return _message(schema.route(job.queue, band), job, history, store, beyond=beyond)


def unreadable(
    schema: Schema, queue: str, body: bytes, headers: dict[str, Any], error: BrokerError
) -> Message:
    """A message that nobody here understands, kept among the dead letters."""
    room = wire.size(headers)
    if room is None or room > MOST:
        headers = {"headers": storable(repr(headers))[:HISTORY]}
    kept = Properties(new_id(), {**headers, "reason": str(error)})
    return Message(schema.direct(Part("dead", queue)), body, kept)


def note(schema: Schema, part: Part) -> Message:
    """A message that says something by being there."""
    return Message(schema.direct(part), b"", Properties(new_id()))


def telling(schema: Schema, queue: str, paused: bool | None) -> Message:
    """Tell all workers that a queue is paused, or goes on; None: that it was deleted, and is made again."""
    return Message(
        Route(schema.control, "", (Part("control"),)),
        _encode((queue, paused)),
        Properties(new_id()),
        False,
    )


def told(body: bytes) -> tuple[str, bool | None]:
    """What `telling` says, of which queue. Raises `BrokerError` for a message of somebody else."""
    try:
        return _told.decode(body)
    except flaws.DAMAGE as error:
        raise BrokerError(f"workers were told something that they do not understand: {error}") from error


def dead(schema: Schema, job: JobRecord, now: float, *, history: Sequence[Attempt] = ()) -> Message:
    """The dead letter of a job."""
    more = {"reason": job.reason or "dead", "died_at": when(now)}
    if history and history[-1].error:
        more["error"] = f"{history[-1].error}: {history[-1].message}"[:1000]
    return _message(schema.direct(Part("dead", job.queue)), job, history, "", more)


def after(job: JobRecord, settlement: Settlement) -> JobRecord:
    """The job as its settlement leaves it."""
    return replace(
        job,
        state=settlement.state,
        attempt=settlement.attempt,
        crashes=settlement.crashes,
        run_at=settlement.run_at,
        reason=settlement.reason,
        finished_at=settlement.now if settlement.state in FINAL else None,
        worker=None,
        started_at=None,
    )


def received(body: bytes, headers: dict[str, Any], store: str | None) -> Received:
    """What a message holds. Raises `BrokerError` for one that is none of ours."""
    try:
        job, beyond = _read(headers["job"])
    except flaws.DAMAGE as error:
        raise _unreadable(str(error)) from error
    if len(job.id.encode()) > SHORT:
        raise _unreadable(f"its id is longer than {SHORT} bytes")
    if not flaws.sound(job) or abs(job.priority) > FAR:
        raise _unreadable("it has times that are none, or numbers that nobody has counted to")
    job.payload = body
    return Received(job, _lines(headers), store if isinstance(store, str) else "", beyond)


def _read(header: str) -> tuple[JobRecord, str]:
    """The job of a header; and the header, where it is in a later format: what is not known here is kept."""
    try:
        job = _job.decode(header)
    except flaws.DAMAGE:
        later = _later.decode(header)
        if later.options.format <= FORMAT:
            raise
        job = JobRecord(
            later.id, later.task, priority=later.priority, attempt=later.attempt, token=later.token
        )
        job.options = Options(format=later.options.format)
    if job.options.format <= FORMAT:
        return job, ""
    _document.decode(header)  # which reads what was passed over so far
    return job, header


def _lines(headers: dict[str, Any]) -> list[Attempt]:
    """The history. It is no reason not to run a job that it is damaged."""
    if "history" not in headers:
        return []
    try:
        return _history.decode(headers["history"])
    except flaws.DAMAGE:
        return [flaws.attempt(headers["history"])]


def _unreadable(what: str) -> BrokerError:
    return BrokerError(
        f"a message holds no job of Backburner: {storable(what)[:500]}; look at it in RabbitMQ's own tools, "
        "then delete it"
    )


def _message(
    route: Route,
    job: JobRecord,
    history: Sequence[Attempt],
    store: str,
    more: Mapping[str, str] = NO_HEADERS,
    beyond: str = "",
) -> Message:
    header = _encode(replace(job, payload=NO_ARGUMENTS))
    if beyond:
        changes = {name: getattr(job, name) for name in CHANGES}
        header = _encode({**_document.decode(beyond), **changes})
    if len(header) > MOST + (GROWTH if job.token else 0):
        raise BrokerError(
            f"job {job.id} has {len(header)} bytes beside its arguments, and RabbitMQ takes {MOST}: store "
            "its meta or its checkpoint elsewhere, and pass an id"
        )
    headers = {"job": header.decode(), **more}
    if history:
        headers["history"] = _fitting(history)
    return Message(
        route,
        job.payload,
        Properties(job.id, headers, "application/json", _short(job.task), store),
    )


@lru_cache
def _short(text: str) -> str:
    return text.encode()[:SHORT].decode(errors="ignore")


def _fitting(history: Sequence[Attempt]) -> str:
    """The newest lines, as far as there is room; the older ones without their tracebacks."""
    lines: list[Attempt] = []
    room = HISTORY
    for line in reversed(history):
        size = len(_encode(line))
        if size > room:
            line = replace(line, traceback=None, message=(line.message or "")[:500])
            size = len(_encode(line))
        if size > room:
            break
        room -= size
        lines.append(line)
    return _encode(lines[::-1]).decode()
