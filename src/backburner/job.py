"""The stored job, and the handle that a caller holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from backburner import ambient, codec
from backburner.errors import JobCancelled, JobFailed, JobNotFound, ResultTimeout
from backburner.lifecycle import FINAL, Attempt, State
from backburner.retry import Retry

if TYPE_CHECKING:
    from backburner.app import Backburner
    from backburner.brokers.base import Operation

R = TypeVar("R", covariant=True)


FORMAT = 1
"""Of the records that this version writes, and the latest that it knows. It is raised when a worker must know
something new about a job to run it right; what may be ignored is added without."""


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an enqueue may set for one job over its task's own settings. Times in seconds."""

    retry: Retry | None = None
    timeout: float | None = None
    result_ttl: float | None = None
    tags: tuple[str, ...] = ()
    meta: dict[str, Any] = {}
    format: int = 1
    """Of the record. A worker that does not know it leaves the job to others."""


NO_OPTIONS = Options()


FRESH = -1
"""The locator of a new job whose id was made for it, until a broker was told of it: no store can have it."""


class JobRecord(msgspec.Struct, omit_defaults=True, gc=False):
    """A job as a broker stores it. Times are seconds since the epoch by the broker's clock."""

    id: str
    task: str
    payload: bytes = b"[]"
    queue: str = "default"
    priority: int = 0
    state: State = State.QUEUED
    created_at: float = 0.0
    run_at: float = 0.0
    """When it is due; 0 in a new job means now."""
    expires_at: float | None = None
    """Not started by then: cancelled."""
    attempt: int = 0
    token: int = 0
    crashes: int = 0
    worker: str | None = None
    started_at: float | None = None
    finished_at: float | None = None
    result: bytes | None = None
    reason: str | None = None
    """Why it is dead, cancelled, or waits again."""
    key: str | None = None
    """The idempotency key: at most one stored job has it."""
    cancel_requested: bool = False
    progress: bytes | None = None
    checkpoint: bytes | None = None
    options: Options = NO_OPTIONS
    locator: int = 0
    """Where the broker finds the job faster than by its id: its row, say; `FRESH`: it has not had the job."""
    delay: float | None = None
    """New jobs only: due that many seconds after the broker's now."""
    expires_in: float | None = None
    """New jobs only: `expires_at`, relative to the broker's now."""
    stamp: bytes | None = None
    """What the broker had written of it while it ran: where the same still stands, nothing was changed since.
    Nobody else reads it."""
    flaw: str | None = None
    """Why what is stored of it cannot be read as it is. Such a job is not run, but quarantined."""


def new_ids(count: int) -> list[str]:
    """UUIDs of version 7 (RFC 9562): they sort by time, and cannot be guessed from one another.

    Chance is asked for once for all of them: for one it is a system call, half of what an id costs.
    """
    moment, chance = f"{int(ambient.wall() * 1000):012x}", ambient.entropy(10 * count).hex()
    start = f"{moment[:8]}-{moment[8:]}-7"
    parts = (chance[at : at + 20] for at in range(0, 20 * count, 20))
    return [f"{start}{each[:3]}-{_VARIANT[each[3]]}{each[4:7]}-{each[7:19]}" for each in parts]


_VARIANT = {f"{digit:x}": f"{digit & 3 | 8:x}" for digit in range(16)}


def new_id() -> str:
    return new_ids(1)[0]


class Job(Generic[R]):
    """A caller's handle on one job. `state` and `record` are as of the last look: see `refresh`."""

    __slots__ = ("_app", "_returns", "duplicate", "record")

    def __init__(
        self, app: Backburner, record: JobRecord, returns: Any = Any, duplicate: bool = False
    ) -> None:
        self._app = app
        self._returns = returns
        self.record = record
        self.duplicate = duplicate
        """True when an idempotency key met a job that existed already; this is that job."""

    def __repr__(self) -> str:
        return f"<Job {self.id} {self.record.task} {self.state}>"

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def state(self) -> State:
        return self.record.state

    @property
    def finished(self) -> bool:
        return self.state in FINAL

    @property
    def progress(self) -> Any:
        """What the task last reported with `current_job().report(...)`, or None."""
        return codec.decode_result(self.record.progress, Any)

    def refresh(self) -> Job[R]:
        """Read the job again. Raises `JobNotFound`."""
        self._read(self._app.broker.run(self._app.broker.get([self.id])))
        return self

    async def arefresh(self) -> Job[R]:
        self._read(await self._app.broker.arun(self._app.broker.get([self.id])))
        return self

    def history(self) -> list[Attempt]:
        """Every attempt that failed, was interrupted or crashed, oldest first."""
        return self._app.broker.run(self._app.broker.history(self.id))

    def cancel(self, reason: str = "cancelled by a caller") -> bool:
        """Cancel the job, or ask its worker to stop it. False when it was final already."""
        return bool(self._app.broker.run(self._cancel(reason)))

    async def acancel(self, reason: str = "cancelled by a caller") -> bool:
        return bool(await self._app.broker.arun(self._cancel(reason)))

    def result(self, timeout: float | None = None) -> R:
        """What the task returned; waits for it up to `timeout` seconds (None: as long as it takes).

        Raises `JobFailed` with the worker's traceback, `JobCancelled`, `ResultTimeout`, `JobNotFound`.
        """
        deadline = None if timeout is None else ambient.monotonic() + timeout
        if not self.refresh().finished:
            with self._app.broker.waiter([f"job:{self.id}"]) as waiter:
                while not self.refresh().finished:
                    left = None if deadline is None else deadline - ambient.monotonic()
                    if left is not None and left <= 0:
                        raise self._late(timeout)
                    waiter.wait(left)
        return self._outcome(self.history() if self.record.state is State.DEAD else [])

    async def aresult(self, timeout: float | None = None) -> R:
        """`result`, without blocking the event loop."""
        deadline = None if timeout is None else ambient.monotonic() + timeout
        if not (await self.arefresh()).finished:
            with self._app.broker.waiter([f"job:{self.id}"]) as waiter:
                while not (await self.arefresh()).finished:
                    left = None if deadline is None else deadline - ambient.monotonic()
                    if left is not None and left <= 0:
                        raise self._late(timeout)
                    await waiter.wait_async(left)
        dead = self.record.state is State.DEAD
        return self._outcome(await self._app.broker.arun(self._app.broker.history(self.id)) if dead else [])

    def _cancel(self, reason: str) -> Operation[list[str]]:
        return self._app.broker.cancel([self.id], reason, self._app.settings.keep_finished)

    def _read(self, found: list[JobRecord]) -> None:
        if not found:
            raise JobNotFound(
                f"no job {self.id}: the id is wrong, it belongs to another broker, "
                "or it finished and its retention has passed",
                job_id=self.id,
            )
        self.record = found[0]

    def _late(self, timeout: float | None) -> ResultTimeout:
        return ResultTimeout(
            f"job {self.id} is {self.state} after {timeout:g} s; `backburner explain {self.id}` says why",
            job_id=self.id,
        )

    def _outcome(self, history: list[Attempt]) -> R:
        record = self.record
        if record.state is State.CANCELLED:
            raise JobCancelled(f"job {self.id} was cancelled: {record.reason}", job_id=self.id)
        if record.state is State.DEAD:
            reason = record.reason or "dead"
            if not history:
                raise JobFailed(self.id, reason, None, None)
            last = history[-1]
            raise JobFailed(self.id, reason, last.error, last.traceback or last.message)
        result: R = codec.decode_result(record.result, self._returns)
        return result


def when(moment: float | None) -> str:
    """A time for people: ISO 8601 in UTC to the second."""
    try:
        return "" if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # a record may say anything
        return f"{moment:g} s after 1970"
