"""The states of a job and every legal move between them. Pure; the heart of Backburner.

1. `TRANSITIONS` lists each move: the verb, where it may start, where it ends.
2. A move that ends a claim is a `Settlement`, and only the constructors below build one. They decide
   everything (the new state, the attempt count, when it is due, when it may be pruned).
3. A broker guards and applies: it writes a settlement only while the job is running under the very
   claim (`token`) that the settlement names, and hands back those that it refused.

`attempt` counts what the retry policy counts. `token` counts claims and never goes back, so that it
fences a stale worker even where a release, a snooze or a crash gave the attempt back.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import msgspec

if TYPE_CHECKING:
    from backburner.job import JobRecord
    from backburner.settings import Settings


class State(StrEnum):
    """Where a job stands."""

    BLOCKED = "blocked"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELLED = "cancelled"


SCHEDULED, QUEUED = State.SCHEDULED, State.QUEUED
RUNNING, SUCCEEDED = State.RUNNING, State.SUCCEEDED
"""The same: CPython 3.11 takes a sixth of a microsecond to find a member of an enumeration by its name."""
ROUNDS = 8
"""Claims in vain after which a job that waits for other workers comes back after another time each time."""
FINAL = frozenset({State.SUCCEEDED, State.DEAD, State.CANCELLED})
WAITING = frozenset({State.BLOCKED, State.SCHEDULED, State.QUEUED, State.RETRYING})


class Move(NamedTuple):
    """One arrow of the lifecycle: `verb` takes a job from one of `sources` to `target`."""

    verb: str
    sources: frozenset[State]
    target: State
    why: str


_RUNNING = frozenset({State.RUNNING})

TRANSITIONS: tuple[Move, ...] = (
    Move("unblock", frozenset({State.BLOCKED}), State.QUEUED, "what it waits for is done"),
    Move("stage", frozenset({State.SCHEDULED, State.RETRYING}), State.QUEUED, "due"),
    Move("claim", frozenset({State.QUEUED}), State.RUNNING, "a worker takes it"),
    Move("succeed", _RUNNING, State.SUCCEEDED, "it returned"),
    Move("retry", _RUNNING, State.RETRYING, "it failed and may be tried again"),
    Move("die", _RUNNING, State.DEAD, "attempts used up, or not retryable"),
    Move("snooze", _RUNNING, State.SCHEDULED, "it asked for later"),
    Move("release", _RUNNING, State.QUEUED, "the worker stops, or it was not started"),
    Move("crash", _RUNNING, State.QUEUED, "its worker died"),
    Move("poison", _RUNNING, State.DEAD, "it killed its worker again and again"),
    Move("cancel", WAITING | _RUNNING, State.CANCELLED, "a person, an expiry, a full queue"),
    Move("revive", frozenset({State.DEAD, State.CANCELLED}), State.QUEUED, "a person retries it"),
)


class Attempt(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line in the history of a job: an attempt that failed, was interrupted or crashed."""

    attempt: int
    token: int
    worker: str
    started_at: float
    ended_at: float
    outcome: str
    """The verb of `TRANSITIONS` that ended it."""
    error: str | None = None
    """The exception's class by its dotted name."""
    message: str | None = None
    traceback: str | None = None


class ErrorInfo(NamedTuple):
    """An exception as text: its class by dotted name, its message, its traceback."""

    error: str | None
    message: str
    traceback: str | None = None


class Settlement(msgspec.Struct, gc=False):
    """How one claim ends. `job` is the record as it was claimed; its `token` is the fence."""

    job: JobRecord
    verb: str
    state: State
    now: float
    attempt: int
    crashes: int
    run_at: float
    """When the job is due, for a job that goes back; its place in line otherwise."""
    result: bytes | None = None
    reason: str | None = None
    keep: float | None = None
    """Seconds until a final job may be pruned; None keeps it until somebody deletes it."""
    log: Attempt | None = None
    follow_ups: tuple[JobRecord, ...] = ()
    """Jobs to enqueue in the same atomic write."""


def entered(job: JobRecord, now: float) -> JobRecord:
    """Place a new job: its relative times become absolute, and it is queued, or scheduled for later."""
    job.created_at, job.locator = now, 0
    if job.delay is not None:
        job.run_at = now + max(0.0, job.delay)
    elif not job.run_at:
        job.run_at = now
    if job.expires_in is not None:
        job.expires_at = now + job.expires_in
    job.state = SCHEDULED if job.run_at > now else QUEUED
    return job


def succeeded(
    job: JobRecord,
    result: bytes | None,
    now: float,
    *,
    keep: float,
    follow_ups: tuple[JobRecord, ...] = (),
) -> Settlement:
    # By position, in the order of the fields: by name it would take five times as long.
    return Settlement(
        job,
        "succeed",
        SUCCEEDED,
        now,
        job.attempt,
        job.crashes,
        job.run_at,
        result,
        None,
        keep,
        None,
        follow_ups,
    )


def retrying(job: JobRecord, error: ErrorInfo, delay: float, now: float) -> Settlement:
    return _ended(job, "retry", State.RETRYING, now, error=error, run_at=now + max(0.0, delay))


def dead(job: JobRecord, error: ErrorInfo, reason: str, now: float) -> Settlement:
    return _ended(job, "die", State.DEAD, now, error=error, reason=reason)


def quarantined(job: JobRecord, now: float) -> Settlement:
    """Nobody can tell what it is: it is kept for a person to look at."""
    reason = job.flaw or ""
    return dead(job, ErrorInfo(None, reason), reason, now)


def cancelled(job: JobRecord, reason: str, now: float, *, keep: float) -> Settlement:
    return _ended(
        job, "cancel", State.CANCELLED, now, error=ErrorInfo(None, reason), reason=reason, keep=keep
    )


def snoozed(job: JobRecord, delay: float, now: float, reason: str | None = None) -> Settlement:
    """Later, and the attempt does not count. Without a line of history: a job may poll this way for days."""
    settlement = _ended(job, "snooze", State.SCHEDULED, now, run_at=now + max(0.0, delay), reason=reason)
    settlement.attempt = job.attempt - 1
    settlement.log = None
    return settlement


def released(job: JobRecord, now: float, reason: str | None = None) -> Settlement:
    """Back to its old place in line, and the attempt does not count. A reason means that it had started."""
    settlement = _ended(job, "release", State.QUEUED, now, error=ErrorInfo(None, reason or ""))
    settlement.attempt = job.attempt - 1
    if reason is None:
        settlement.log = None
    return settlement


def crashed(job: JobRecord, now: float, *, poison_after: int) -> Settlement:
    """Its worker died. The attempt does not count, the crash does: `poison_after` of them end it."""
    crashes = job.crashes + 1
    if crashes >= poison_after:
        settlement = poisoned(job, crashes, now)
    else:
        settlement = _ended(job, "crash", State.QUEUED, now, error=ErrorInfo(None, "its worker died"))
        settlement.attempt = job.attempt - 1
    settlement.crashes = crashes
    return settlement


def poisoned(job: JobRecord, crashes: int, now: float) -> Settlement:
    """It has killed its workers too often."""
    reason = f"poison pill: its worker died {crashes} times while it ran"
    return _ended(job, "poison", State.DEAD, now, error=ErrorInfo(None, reason), reason=reason)


def put_off(job: JobRecord, settings: Settings, now: float, reason: str) -> Settlement:
    """Until a worker may claim it that has its code; after a while for half to one and a half of the delay.

    Two jobs that came back after the same time, in turns, each met the worker of the other for ever.
    """
    share = crc32(f"{job.id} {job.token}".encode(errors="replace")) / 2**32 if job.token > ROUNDS else 0.5
    return snoozed(job, settings.unknown_task_delay * (0.5 + share), now, reason)


def refused(job: JobRecord, settings: Settings, known: int, now: float) -> Settlement | None:
    """What becomes of a claimed job that is not to begin: not all of it can be read, its format is newer than
    the one that is known here, or it is cancelled, expired or a poison pill by now.
    """
    if job.flaw is not None:
        return quarantined(job, now)
    if job.options.format > known:
        reason = (
            f"a newer Backburner wrote it, in format {job.options.format}, and the worker that claimed it "
            f"knows {known}: it waits for a worker of that version; upgrade this one"
        )
        return put_off(job, settings, now, reason)
    if job.cancel_requested:
        return cancelled(job, job.reason or "cancelled", now, keep=settings.keep_finished)
    if job.expires_at is not None and job.expires_at <= now:
        reason = f"expired: it had not started after {now - job.created_at:.0f} s"
        return cancelled(job, reason, now, keep=settings.keep_finished)
    if job.crashes >= settings.poison_after:
        # Where the server hands jobs on by itself nobody has judged it yet.
        return poisoned(job, job.crashes, now)
    return None


def applied(settlement: Settlement, stored: JobRecord) -> bool:
    """Whether the stored job is as this settlement left it, and was not claimed again since."""
    job = settlement.job
    finished_at = settlement.now if settlement.state in FINAL else None
    # Crashes tell a job that was released from one that others rescued meanwhile.
    return (
        stored.token,
        stored.worker,
        stored.state,
        stored.attempt,
        stored.crashes,
        stored.finished_at,
    ) == (
        job.token,
        job.worker,
        settlement.state,
        settlement.attempt,
        settlement.crashes,
        finished_at,
    )


def _ended(
    job: JobRecord,
    verb: str,
    state: State,
    now: float,
    *,
    error: ErrorInfo | None = None,
    reason: str | None = None,
    run_at: float | None = None,
    keep: float | None = None,
) -> Settlement:
    error = error or ErrorInfo(None, "")
    log = Attempt(
        attempt=job.attempt,
        token=job.token,
        worker=job.worker or "",
        started_at=job.started_at or now,
        ended_at=now,
        outcome=verb,
        error=error.error,
        message=error.message,
        traceback=error.traceback,
    )
    return Settlement(
        job=job,
        verb=verb,
        state=state,
        now=now,
        attempt=job.attempt,
        crashes=job.crashes,
        run_at=job.run_at if run_at is None else run_at,
        reason=reason,
        keep=keep,
        log=log,
    )


def diagram() -> str:
    """The lifecycle as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2"]
    for move in TRANSITIONS:
        lines += [f"    {source} --> {move.target}: {move.verb}" for source in sorted(move.sources)]
    lines += [f"    {state} --> [*]" for state in sorted(FINAL)]
    return "\n".join(lines)
