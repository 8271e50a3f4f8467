"""Where attempts run: plain functions in threads; `coroutines.py` and `processes.py` have the other places.

`Surrounded` puts asynchronous middleware around what runs elsewhere than on the loop.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Protocol

from backburner import ambient
from backburner.control import Stop
from backburner.events import StuckThread
from backburner.worker.call import call
from backburner.worker.threads import Threads, Ticket

if TYPE_CHECKING:
    from backburner.app import Backburner
    from backburner.context import CurrentJob, StopReason
    from backburner.job import JobRecord
    from backburner.task import Task
    from backburner.worker.blackbox import BlackBox
    from backburner.worker.outcome import Verdict

STUCK_AFTER = 5.0
"""Seconds between asking a function to stop and reporting that it does not."""
CLOCKS_DIFFER = 0.002
"""Seconds by which a timer may strike before the time that it was set for, by another clock."""


_NO_SLOT = slice(0)


class Run:
    """One attempt under way. `end` is called once, on the loop, with a value, an error, or a verdict."""

    __slots__ = (
        "abandoned",
        "current",
        "end",
        "handle",
        "job",
        "limit",
        "seconds",
        "slot",
        "stop",
        "task",
        "timer",
    )

    def __init__(
        self,
        job: JobRecord,
        task: Task[..., Any],
        current: CurrentJob,
        limit: float | None,
        end: Callable[..., None],
        stop: Callable[[Run, StopReason], None],
    ) -> None:
        self.job = job
        self.task = task
        self.current = current
        self.limit = limit
        self.end = end
        self.stop = stop
        self.seconds = 0.0
        """How long the function ran, measured where it ran: waiting for the loop does not count."""
        self.handle: Any = None
        self.timer: asyncio.TimerHandle | None = None
        self.slot = _NO_SLOT
        """Its place in the black box."""
        self.abandoned = False
        """Its job was handed back, or belongs to another worker by now: what it gives is not recorded."""

    def arm(self, seconds: float) -> None:
        """Stop it in so many seconds from now, whatever was said before."""
        self.disarm()
        self.timer = asyncio.get_running_loop().call_later(seconds, self._time_is_up)

    def disarm(self) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def _time_is_up(self) -> None:
        # More only for a function that waited for a thread: see `ThreadCalls`.
        left = (self.current.deadline or 0.0) - ambient.monotonic()
        if left > CLOCKS_DIFFER and self.limit is not None:
            self.arm(min(left, self.limit))
        else:
            self.stop(self, "timeout")


class Executor(Protocol):
    """Runs attempts of one kind."""

    def start(self, run: Run) -> None: ...

    def interrupt(self, run: Run, reason: StopReason) -> None:
        """Make the attempt end soon, if that can be done."""

    async def close(self) -> None: ...


class ThreadCalls:
    """Plain functions in a pool of threads.

    It may be given more than there are threads, with a deadline that never comes: an attempt begins when a
    thread takes it, and only from then on its time limit runs and a crash is held against its job.
    """

    def __init__(
        self, app: Backburner, loop: asyncio.AbstractEventLoop, size: int, blackbox: BlackBox | None
    ) -> None:
        self._app = app
        self._loop = loop
        self._blackbox = blackbox
        self._threads = Threads(size, loop)

    def start(self, run: Run) -> None:
        run.handle = self._threads.submit(self._call, run.end, run)

    def interrupt(self, run: Run, reason: StopReason) -> None:
        ticket: Ticket = run.handle
        ticket.interrupt(Stop)
        self._loop.call_later(STUCK_AFTER, self._report, run)

    def take_back(self) -> list[Run]:
        """Those that have not begun, in their order: they will not, nor end."""
        return [args[0] for _, _, _, args in self._threads.take_back()]

    async def close(self) -> None:
        self._threads.close(0.0)

    def _call(self, run: Run) -> bytes | None:
        began, blackbox = ambient.monotonic(), self._blackbox
        if run.current.deadline == math.inf and run.limit is not None:
            run.current.deadline = began + run.limit
        try:
            if run.current.stop_reason is not None:  # said before this thread took the call
                raise Stop
            if blackbox is not None:
                blackbox.note(run.slot, run.job.id)
            return call(self._app, run.task, run.job.payload, run.current)
        finally:
            run.seconds = ambient.monotonic() - began
            if blackbox is not None:
                blackbox.clear(run.slot)

    def _report(self, run: Run) -> None:
        if run.handle.running:
            self._app.events.emit(StuckThread(job=run.job, stack=run.handle.stack()))
            run.handle.interrupt(Stop)  # once more: what is raised inside a destructor ends there


class RaisedElsewhere(Exception):
    """What asynchronous middleware sees of an exception in a `cpu=True` process: it cannot travel itself."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(f"{verdict.error.error or verdict.verb}: {verdict.error.message or verdict.reason}")


class Surrounded:
    """Asynchronous middleware around an executor whose functions run elsewhere."""

    def __init__(self, app: Backburner, inner: Executor) -> None:
        self._app = app
        self._inner = inner
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, run: Run) -> None:
        arounds: list[Any] = [middleware.run(run.current) for middleware in self._app.middleware]
        arounds = [around for around in arounds if hasattr(around, "__aenter__")]
        if arounds:
            run.handle = task = asyncio.get_running_loop().create_task(self._run(run, arounds))
            self._tasks.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._tasks.discard)
        else:
            self._inner.start(run)

    def interrupt(self, run: Run, reason: StopReason) -> None:
        # Later, for the same reason as a coroutine; by then it may have gone on to the function, or ended.
        asyncio.get_running_loop().call_soon(self._interrupt, run, reason)

    def _interrupt(self, run: Run, reason: StopReason) -> None:
        if isinstance(run.handle, asyncio.Task):
            run.handle.cancel()
        else:
            self._inner.interrupt(run, reason)

    async def close(self) -> None:
        await self._inner.close()

    async def _run(self, run: Run, arounds: list[Any]) -> None:
        end, ended = run.end, asyncio.get_running_loop().create_future()
        run.end = lambda _run, value, error, verdict=None: ended.set_result((value, error, verdict))
        how: Any = None
        try:
            async with AsyncExitStack() as stack:
                for around in arounds:
                    await stack.enter_async_context(around)
                run.handle = None
                self._inner.start(run)
                how = await ended
                if how[1] is not None:
                    raise how[1]
                if how[2] is not None:
                    raise RaisedElsewhere(how[2])
        except RaisedElsewhere:
            pass  # judged already
        except BaseException as error:  # noqa: BLE001 - whatever leaves the middleware is the attempt's outcome
            how = (None, error, None)
        end(run, *how)
