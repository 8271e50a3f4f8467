"""`current_job()`: what a running task may know about its job, and do with it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from backburner import ambient, lifecycle
from backburner.errors import BackburnerError, LeaseLost

if TYPE_CHECKING:
    from backburner.app import Backburner
    from backburner.brokers.base import Operation
    from backburner.job import JobRecord
    from backburner.lifecycle import Settlement
    from backburner.task import Task

StopReason = Literal["cancelled", "timeout", "shutdown", "lost"]
REPORT_INTERVAL = 1.0
"""Seconds between two stored reports of progress; a loop may report as often as it likes."""


class CurrentJob:
    """The job that runs now. Valid until its function returns."""

    __slots__ = ("_app", "_follow_ups", "_record", "_reported", "_stop", "completion", "deadline")

    def __init__(self, app: Backburner, record: JobRecord, deadline: float | None = None) -> None:
        self._app = app
        self._record = record
        self._stop: StopReason | None = None
        self._reported = 0.0
        self._follow_ups: list[JobRecord] = []
        self.deadline = deadline
        """When the time limit of this attempt strikes, on `time.monotonic()`; None without one."""
        self.completion: Settlement | None = None
        """What `complete_in` wrote."""

    @property
    def id(self) -> str:
        return self._record.id

    @property
    def task(self) -> str:
        return self._record.task

    @property
    def queue(self) -> str:
        return self._record.queue

    @property
    def attempt(self) -> int:
        """1 in the first attempt; releases, snoozes and crashes do not count."""
        return self._record.attempt

    @property
    def token(self) -> int:
        """The fencing token: grows with every claim of this job. Hand it to systems that can refuse a
        smaller one, so that an attempt that lost its lease cannot overwrite its successor's work.
        """
        return self._record.token

    @property
    def meta(self) -> dict[str, Any]:
        return self._record.options.meta

    @property
    def tags(self) -> tuple[str, ...]:
        return self._record.options.tags

    @property
    def stop_reason(self) -> StopReason | None:
        """Why this attempt has been asked to end, if it has."""
        return self._stop

    @property
    def cancelled(self) -> bool:
        """True when the attempt has been asked to end, for whatever reason: return, or raise `Snooze`."""
        return self._stop is not None

    def ask_to_stop(self, reason: StopReason) -> None:
        """The worker's side of `cancelled`; the first reason stays."""
        self._stop = self._stop or reason

    def report(self, progress: Any) -> None:
        """Publish progress: any JSON value, shown by `Job.progress` and `backburner jobs show`.

        Stored once a second at most. Raises `LeaseLost` when another attempt owns the job by now.
        """
        if self._report_is_due():
            self._kept(self._app.broker.run(self._note(self._encoded(progress), None)))

    async def areport(self, progress: Any) -> None:
        if self._report_is_due():
            self._kept(await self._app.broker.arun(self._note(self._encoded(progress), None)))

    @property
    def checkpoint(self) -> Any:
        """What the last `save` of this job stored, in this attempt or an earlier one; None at first."""
        stored = self._record.checkpoint
        return None if stored is None else msgspec.json.decode(stored)

    def save(self, checkpoint: Any) -> None:
        """Store a JSON value from which a later attempt can go on; None clears what was saved before, and it
        begins anew. Raises `LeaseLost`.
        """
        stored = self._encoded(checkpoint)
        self._kept(self._app.broker.run(self._note(None, stored)))
        self._record.checkpoint = (
            stored  # not before: on RabbitMQ the record travels, and with it what was refused
        )

    async def asave(self, checkpoint: Any) -> None:
        stored = self._encoded(checkpoint)
        self._kept(await self._app.broker.arun(self._note(None, stored)))
        self._record.checkpoint = stored

    def then(self, task: Task[..., Any], *args: Any, **kwargs: Any) -> str:
        """Enqueue `task` in the same atomic write that records this job's success; returns the new job's id.

        Nothing is enqueued when this attempt fails.
        """
        record = task.prepare(args, kwargs)
        self.follow(record)
        return record.id

    def complete_in(self, connection: Any, result: Any = None) -> None:
        """Record this job's success, with its result, inside the transaction of your own `connection`.

        What you write in that transaction then happens exactly once: with the commit the job is done, and
        without it nothing was. Commit before the task returns, or it has failed (`NotCommitted`). What the
        task returns is not looked at.

        Raises `LeaseLost` when another attempt owns the job by now; then the transaction cannot be committed.
        """
        settlement = self._completed(result)
        self._app.broker.run_on(connection, self._app.broker.complete(settlement))
        self.completion = settlement

    async def acomplete_in(self, connection: Any, result: Any = None) -> None:
        """`complete_in`, for the connection of an asynchronous driver."""
        settlement = self._completed(result)
        await self._app.broker.arun_on(connection, self._app.broker.complete(settlement))
        self.completion = settlement

    def follow(self, record: JobRecord) -> None:
        """`then`, for a prepared record."""
        self._follow_ups.append(record)

    @property
    def follow_ups(self) -> tuple[JobRecord, ...]:
        return tuple(self._follow_ups)

    def succeeded(self, value: bytes | None) -> Settlement:
        """How this attempt ends with that result. For the worker."""
        app, record = self._app, self._record
        ttl = record.options.result_ttl
        if ttl is None:
            ttl = app.tasks[record.task].result_ttl
        keep = app.settings.keep_finished if ttl is None else ttl
        return lifecycle.succeeded(
            record, value, app.broker.now(), keep=keep, follow_ups=tuple(self._follow_ups)
        )

    def _completed(self, result: Any) -> Settlement:
        from backburner.worker.call import encoded

        return self.succeeded(encoded(self._app, self._app.tasks[self.task], result))

    def _report_is_due(self) -> bool:
        now = ambient.monotonic()
        if now - self._reported < REPORT_INTERVAL:
            return False
        self._reported = now
        return True

    def _encoded(self, value: Any) -> bytes:
        """None as well: a `null` that is stored replaces what was there before."""
        return self._app.codec.encode(value)

    def _note(self, progress: bytes | None, checkpoint: bytes | None) -> Operation[bool]:
        return self._app.broker.note(self._record, progress, checkpoint)

    def _kept(self, owned: bool) -> None:
        if not owned:
            raise LeaseLost(f"job {self.id} is owned by another attempt by now: stop")


_current: ContextVar[CurrentJob] = ContextVar("backburner_current_job")
enter = _current.set
leave = _current.reset


def current_job() -> CurrentJob:
    """The job that is running here. Raises `BackburnerError` outside of one."""
    try:
        return _current.get()
    except LookupError:
        raise BackburnerError(
            "no job is running here: current_job() works inside a task that a worker runs, "
            "and not in threads that the task starts without their context"
        ) from None
