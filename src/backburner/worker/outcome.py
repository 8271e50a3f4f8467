"""How an attempt that did not return ended, as a settlement. Pure but for the jitter of a retry.

1. What a task raises on purpose (`Snooze`, `Cancel`, `Dead`) is taken at its word.
2. What no retry can mend goes to the dead letters: arguments that do not fit, a result that has no JSON form.
3. An attempt that was stopped ends by the reason for the stop: cancelled, released, or timed out.
4. Everything else is a failure, and the retry policy decides.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import msgspec

from backburner import lifecycle
from backburner.codec import ReferenceGone
from backburner.control import Cancel, Dead, Snooze, Stop
from backburner.errors import CodecError
from backburner.lifecycle import ErrorInfo, Settlement
from backburner.retry import class_name
from backburner.words import storable
from backburner.worker.threads import NotStarted

if TYPE_CHECKING:
    from backburner.context import StopReason
    from backburner.job import JobRecord
    from backburner.settings import Settings
    from backburner.task import Task
    from backburner.worker.executors import Run

MAX_TRACEBACK = 16 * 1024
_LIBRARY = str(Path(__file__).parent.parent)


class ResultError(CodecError):
    """The task returned a value that has no JSON form."""


class ProcessDied(Exception):
    """A process ended without being asked to while it ran a job."""


class Verdict(msgspec.Struct):
    """What becomes of an attempt that raised. Travels from a `cpu=True` process to its worker."""

    verb: Literal["snooze", "cancel", "die", "retry"]
    error: ErrorInfo
    reason: str = ""
    delay: float = 0.0


def verdict(  # noqa: PLR0911 - one line a case
    task: Task[..., object], job: JobRecord, error: BaseException, settings: Settings, now: float
) -> Verdict:
    match error:
        case Snooze():
            return Verdict("snooze", ErrorInfo(None, ""), storable(error.reason or ""), error.seconds)
        case Cancel():
            return Verdict("cancel", ErrorInfo(None, ""), storable(error.reason))
        case Dead():
            return Verdict("die", described(error), storable(error.reason))
        case ReferenceGone(missing="cancel"):
            return Verdict("cancel", ErrorInfo(None, ""), storable(str(error)))
        case ReferenceGone(missing="retry"):
            pass
        case CodecError():
            return Verdict("die", described(error), storable(str(error)))
    policy = job.options.retry or task.retry or settings.retry
    refusal = policy.refusal(error, job.attempt, now - job.created_at)
    if refusal is not None:
        return Verdict("die", described(error), refusal)
    return Verdict("retry", described(error), delay=policy.delay(error, job.attempt, random.random()))


def judged(job: JobRecord, verdict: Verdict, settings: Settings, now: float) -> Settlement:
    match verdict.verb:
        case "snooze":
            return lifecycle.snoozed(job, verdict.delay, now, verdict.reason or None)
        case "cancel":
            return lifecycle.cancelled(job, verdict.reason, now, keep=settings.keep_finished)
        case "die":
            return lifecycle.dead(job, verdict.error, verdict.reason, now)
        case "retry":
            return lifecycle.retrying(job, verdict.error, verdict.delay, now)


def stopped(
    task: Task[..., object],
    job: JobRecord,
    reason: StopReason,
    limit: float | None,
    settings: Settings,
    now: float,
) -> Settlement:
    if reason == "cancelled":
        return lifecycle.cancelled(job, job.reason or "cancelled", now, keep=settings.keep_finished)
    if reason == "timeout":
        late = TimeoutError(f"time limit of {limit:g} s")
        return judged(job, verdict(task, job, late, settings, now), settings, now)
    return lifecycle.released(job, now, "interrupted: its worker stopped")


def failed(
    run: Run, error: BaseException | None, judgement: Verdict | None, settings: Settings, now: float
) -> Settlement:
    """What becomes of an attempt that did not return; `judgement` is given where it was judged already."""
    task, job, reason = run.task, run.job, run.current.stop_reason
    if judgement is None:
        assert error is not None
        if isinstance(error, NotStarted):
            return lifecycle.released(job, now)
        if reason is not None and isinstance(error, asyncio.CancelledError | Stop):
            return stopped(task, job, reason, run.limit, settings, now)
        if isinstance(error, ProcessDied):
            return lifecycle.crashed(job, now, poison_after=settings.poison_after)
        judgement = verdict(task, job, error, settings, now)
    return judged(job, judgement, settings, now)


def described(error: BaseException) -> ErrorInfo:
    """An exception as text, its traceback without the library's own frames above the task's."""
    own = error.__traceback__
    while own is not None and _is_library(own):
        own = own.tb_next
    if own is None:  # the task's own code had no part in it
        text = "".join(traceback.format_exception_only(type(error), error))
    else:
        text = "".join(traceback.format_exception(type(error), error, own))
    if len(text) > MAX_TRACEBACK:
        text = text[: MAX_TRACEBACK // 4] + "\n[…]\n" + text[-MAX_TRACEBACK * 3 // 4 :]
    try:
        message = str(error)
    except Exception as unprintable:  # noqa: BLE001 - whatever an exception's own __str__ raises
        message = f"<its message cannot be made: {type(unprintable).__name__}>"
    return ErrorInfo(class_name(type(error)), storable(message[:4096]), storable(text))


def _is_library(frame: TracebackType) -> bool:
    return frame.tb_frame.f_code.co_filename.startswith(_LIBRARY)
