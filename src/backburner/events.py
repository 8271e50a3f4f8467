"""What happens, as typed events. Logging, hooks and metrics are subscribers; nothing else reports.

`app.on(events.Died)` subscribes a handler. Handlers run where the event happens, one after the other:
keep them short, and enqueue a task for slow work. A handler that raises is logged and stops nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import msgspec

from backburner.job import JobRecord
from backburner.lifecycle import ErrorInfo

logger = logging.getLogger("backburner")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events."""

    level: ClassVar[int] = logging.DEBUG

    def text(self) -> str:
        fields = (f"{name}={getattr(self, name)}" for name in self.__struct_fields__)
        return " ".join([type(self).__name__.lower(), *fields])


class JobEvent(Event, frozen=True):
    """An event about one job."""

    job: JobRecord

    def text(self) -> str:
        job = self.job
        return f"{type(self).__name__.lower()} {job.task} {job.id} attempt {job.attempt}"


class Enqueued(JobEvent, frozen=True):
    """`enqueue` returned: the job is stored."""


class Started(JobEvent, frozen=True):
    """An attempt begins."""


class Succeeded(JobEvent, frozen=True):
    """The task returned."""

    seconds: float


class Failed(JobEvent, frozen=True):
    """An attempt failed and will be retried after `delay` seconds."""

    level: ClassVar[int] = logging.WARNING
    error: ErrorInfo
    delay: float

    def text(self) -> str:
        why = f"{self.error.error}: {self.error.message}"
        return f"{super().text()}: {why}; next attempt in {self.delay:.1f} s"


class Died(JobEvent, frozen=True):
    """A job went to the dead letters."""

    level: ClassVar[int] = logging.ERROR
    error: ErrorInfo
    reason: str

    def text(self) -> str:
        trace = f"\n{self.error.traceback}" if self.error.traceback else ""
        return f"{super().text()}: {self.reason}{trace}"


class Cancelled(JobEvent, frozen=True):
    """A job was cancelled while it ran, or had expired before it could start."""

    level: ClassVar[int] = logging.INFO
    reason: str


class Snoozed(JobEvent, frozen=True):
    """A job goes back for `delay` seconds without using up an attempt."""

    delay: float
    reason: str | None


class Released(JobEvent, frozen=True):
    """A job went back to its queue without an attempt: its worker stops, or did not get to start it."""


class Rescued(JobEvent, frozen=True):
    """A job of a dead worker went back to its queue; `WorkerDied` says how many did."""


class LostLease(JobEvent, frozen=True):
    """This worker no longer owns a job that it was running; what the attempt did is not recorded."""

    level: ClassVar[int] = logging.WARNING


class LeftOpen(JobEvent, frozen=True):
    """A task has ended and left a transaction open that has its job locked: the end cannot be recorded."""

    level: ClassVar[int] = logging.WARNING

    def text(self) -> str:
        return (
            f"{super().text()}: its end cannot be recorded while a transaction has the job locked: let the "
            "task commit, roll back, or close the connection that it gives to complete_in"
        )


class StuckThread(JobEvent, frozen=True):
    """A function was told to stop (time limit or cancellation) and still runs."""

    level: ClassVar[int] = logging.ERROR
    stack: str

    def text(self) -> str:
        return f"{super().text()}: told to stop, still running:\n{self.stack}"


class UnknownTask(JobEvent, frozen=True):
    """No code here for this job; it waits for a worker that has it."""

    level: ClassVar[int] = logging.WARNING


class LargePayload(JobEvent, frozen=True):
    """The arguments of a job are larger than `warn_payload`."""

    level: ClassVar[int] = logging.WARNING
    size: int

    def text(self) -> str:
        return f"{self.job.task} was enqueued with {self.size:,} bytes of arguments; pass an id instead"


class QueueFilled(Event, frozen=True):
    """An enqueue met a queue at its limit."""

    level: ClassVar[int] = logging.WARNING
    queue: str
    depth: int
    max_length: int


class DeadNearLimit(Event, frozen=True):
    """The dead letters of a queue are near `max_dead`; the oldest will be trimmed beyond it."""

    level: ClassVar[int] = logging.ERROR
    queue: str
    count: int
    limit: int


class DeadTrimmed(Event, frozen=True):
    """The oldest dead letters of a queue were deleted."""

    level: ClassVar[int] = logging.ERROR
    queue: str
    count: int


class BrokerDown(Event, frozen=True):
    """The broker cannot be reached; the worker keeps its results and tries again."""

    level: ClassVar[int] = logging.ERROR
    error: str


class BrokerUp(Event, frozen=True):
    """The broker is back."""

    level: ClassVar[int] = logging.WARNING


class WorkerDied(Event, frozen=True):
    """A worker process ended without being asked to; its jobs were handed back."""

    level: ClassVar[int] = logging.ERROR
    worker: str
    exit_code: int
    jobs: int


E = TypeVar("E", bound=Event)
Handler = Callable[[E], object]


class Events:
    """The subscriptions of one app."""

    def __init__(self) -> None:
        self._handlers: dict[type[Event], tuple[Handler[Any], ...]] = {}

    def on(self, kind: type[E], handler: Handler[E]) -> Handler[E]:
        """Call `handler` with every event of `kind`, base classes included."""
        for each in _family(kind):
            self._handlers[each] = (*self._handlers.get(each, ()), handler)
        return handler

    def wanted(self, kind: type[Event]) -> bool:
        """Whether anybody listens: what nobody wants need not be built."""
        return kind in self._handlers or logger.isEnabledFor(kind.level)

    def emit(self, event: Event) -> None:
        if logger.isEnabledFor(event.level):
            logger.log(event.level, "%s", event.text())
        self.handle(event)

    def handle(self, event: Event) -> None:
        """Call the handlers alone, for an event that was logged in another process."""
        for handler in self._handlers.get(type(event), ()):
            try:
                handler(event)
            except Exception:
                logger.exception("a handler of %s failed", type(event).__name__)


def _family(kind: type[Event]) -> list[type[Event]]:
    found = [kind]
    for child in kind.__subclasses__():
        found += _family(child)
    return found
