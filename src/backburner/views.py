"""The stable shapes that programs read: `--json` on the command line, and the export of dead letters.

Times are seconds since the epoch, lengths of time are seconds; what is not known or not set is null.
Arguments, results, progress and checkpoints are the JSON that is stored. Fields may be added; none changes
its meaning. The shapes of `stats`, `explain` and `doctor` are the structs of those modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from backburner.brokers.base import QueueInfo, StoredSchedule, WorkerInfo
from backburner.errors import ConfigError
from backburner.job import JobRecord
from backburner.lifecycle import Attempt, State
from backburner.schedule import describe

_NO_ARGUMENTS = msgspec.Raw(b"[]")


class AttemptView(msgspec.Struct, kw_only=True):
    """One line of history. `outcome` is the verb of the lifecycle that ended the attempt."""

    attempt: int
    worker: str
    started_at: float
    ended_at: float
    outcome: str
    error: str | None
    message: str | None
    traceback: str | None


class JobView(msgspec.Struct, kw_only=True):
    """A job."""

    id: str
    task: str
    queue: str
    state: State
    priority: int
    attempt: int
    """Attempts burnt, the current one included."""
    crashes: int
    created_at: float
    run_at: float
    expires_at: float | None
    started_at: float | None
    finished_at: float | None
    worker: str | None
    reason: str | None
    cancel_requested: bool
    idempotency_key: str | None
    tags: tuple[str, ...]
    meta: dict[str, Any]
    args: msgspec.Raw
    kwargs: dict[str, msgspec.Raw]
    progress: msgspec.Raw | None
    checkpoint: msgspec.Raw | None
    result: msgspec.Raw | None
    history: list[AttemptView] | None = None
    """Every attempt that failed, was interrupted or crashed, oldest first; null in lists of jobs."""


class QueueView(msgspec.Struct, kw_only=True):
    """A queue, with the number of its jobs in each state (states without jobs are left out)."""

    queue: str
    paused: bool
    counts: dict[str, int]
    oldest_at: float | None
    """When the job that has waited longest became due."""
    max_length: int | None
    on_full: str | None


class WorkerView(msgspec.Struct, kw_only=True):
    """A worker process. One whose lease has run out is not alive: others get its jobs."""

    id: str
    alive: bool
    quiet: bool
    node: str
    host: str
    pid: int
    queues: tuple[str, ...]
    tasks: tuple[str, ...]
    running: int
    slots: int
    started_at: float
    seen_at: float
    lease_until: float


class ScheduleView(msgspec.Struct, kw_only=True):
    """A periodic task."""

    name: str
    task: str
    queue: str
    when: str
    """In words."""
    cron: str | None
    tz: str
    every: float | None
    paused: bool
    declared: bool
    """Declared in code; a worker that starts would bring it back after a delete."""
    next_at: float | None
    last_job: str | None


def job_view(job: JobRecord, history: Sequence[Attempt] | None = None) -> JobView:
    args, kwargs = arguments(job.payload)
    return JobView(
        id=job.id,
        task=job.task,
        queue=job.queue,
        state=job.state,
        priority=job.priority,
        attempt=job.attempt,
        crashes=job.crashes,
        created_at=job.created_at,
        run_at=job.run_at,
        expires_at=job.expires_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        worker=job.worker,
        reason=job.reason or job.flaw,
        cancel_requested=job.cancel_requested,
        idempotency_key=job.key,
        tags=job.options.tags,
        meta=job.options.meta,
        args=args,
        kwargs=kwargs,
        progress=_raw(job.progress),
        checkpoint=_raw(job.checkpoint),
        result=_raw(job.result),
        history=None if history is None else [_attempt_view(each) for each in history],
    )


def arguments(payload: bytes) -> tuple[msgspec.Raw, dict[str, msgspec.Raw]]:
    """The positional arguments (a JSON array) and the keyword arguments of a payload."""
    if not payload.startswith(b"{"):
        return _json(payload), {}
    try:
        kwargs = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _text(payload), {}
    return kwargs.pop("*", _NO_ARGUMENTS), kwargs


def queue_view(info: QueueInfo) -> QueueView:
    return QueueView(
        queue=info.name,
        paused=info.paused,
        counts=info.counts,
        oldest_at=info.oldest,
        max_length=info.max_length,
        on_full=info.on_full,
    )


def worker_view(info: WorkerInfo, now: float) -> WorkerView:
    beat = info.beat
    return WorkerView(
        id=info.id,
        alive=info.lease_until > now,
        quiet=beat.quiet,
        node=beat.node,
        host=beat.host,
        pid=beat.pid,
        queues=beat.queues,
        tasks=beat.tasks,
        running=beat.running,
        slots=beat.concurrency,
        started_at=info.started_at,
        seen_at=info.seen_at,
        lease_until=info.lease_until,
    )


def schedule_view(stored: StoredSchedule) -> ScheduleView:
    schedule = stored.schedule
    return ScheduleView(
        name=schedule.name,
        task=schedule.task,
        queue=schedule.queue,
        when=in_words(stored),
        cron=schedule.cron,
        tz=schedule.tz,
        every=schedule.every,
        paused=stored.paused,
        declared=stored.declared,
        next_at=stored.next_at,
        last_job=stored.last_job,
    )


def in_words(stored: StoredSchedule) -> str:
    """When a schedule fires; for one that this machine cannot read, why."""
    try:
        return describe(stored.schedule)
    except ConfigError as error:
        return str(error)


def _attempt_view(each: Attempt) -> AttemptView:
    return AttemptView(
        attempt=each.attempt,
        worker=each.worker,
        started_at=each.started_at,
        ended_at=each.ended_at,
        outcome=each.outcome,
        error=each.error,
        message=each.message or None,
        traceback=each.traceback,
    )


def _raw(data: bytes | None) -> msgspec.Raw | None:
    return None if data is None else _json(data)


def _json(data: bytes) -> msgspec.Raw:
    """JSON as it is stored; what is none as a text, so that the whole document can be read."""
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return _text(data)
    return msgspec.Raw(data)


def _text(data: bytes) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(data.decode(errors="replace")))
