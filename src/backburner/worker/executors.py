"""Where attempts run: plain functions in threads; `coroutines.py` and `processes.py` have the other places.

`Surrounded` puts asynchronous middleware around what runs elsewhere than on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
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
    from backburner.worker.outcome import Verdict

STUCK_AFTER = 5.0
"""Seconds between asking a function to stop and reporting that it does not."""


class Run:
    """One attempt under way. `end` is called once, on the loop, with a value, an error, or a verdict."""

    __slots__ = (
        "abandoned",
        "arm",
        "current",
        "end",
        "handle",
        "job",
        "limit",
        "seconds",
        "slot",
        "task",
        "timer",
    )

    def __init__(
        self,
        job: JobRecord,
        task: Task[..., Any],
        current: CurrentJob,
        limit: float | None,
        end: Callable[[Run, bytes | None, BaseException | None, Verdict | None], None],
    ) -> None:
        self.job = job
        self.task = task
        self.current = current
        self.limit = limit
        self.end = end
        self.seconds = 0.0
        """How long the function ran, measured where it ran: waiting for the loop does not count."""
        self.handle: Any = None
        self.timer: asyncio.TimerHandle | None = None
        self.arm: Callable[[float], None] | None = None
        """Sets the timer anew, for an executor whose attempts begin later; None without a time limit."""
        self.slot = 0
        """Its place in the black box."""
        self.abandoned = False
        """Its job was handed back, or belongs to another worker by now: what it gives is not recorded."""


class Executor(Protocol):
    """Runs attempts of one kind."""

    def start(self, run: Run) -> None: ...

    def interrupt(self, run: Run, reason: StopReason) -> None:
        """Make the attempt end soon, if that can be done."""

    async def close(self) -> None: ...


class ThreadCalls:
    """Plain functions in a pool of threads."""

    def __init__(self, app: Backburner, loop: asyncio.AbstractEventLoop, size: int) -> None:
        self._app = app
        self._loop = loop
        self._threads = Threads(size, loop)

    def start(self, run: Run) -> None:
        run.handle = self._threads.submit(
            partial(self._call, run), lambda value, error: run.end(run, value, error, None)
        )

    def interrupt(self, run: Run, reason: StopReason) -> None:
        ticket: Ticket = run.handle
        ticket.interrupt(Stop)
        self._loop.call_later(STUCK_AFTER, self._report, run)

    async def close(self) -> None:
        self._threads.close(0.0)

    def _call(self, run: Run) -> bytes | None:
        began = ambient.monotonic()
        try:
            if run.current.stop_reason is not None:  # said before this thread took the call
                raise Stop
            return call(self._app, run.task, run.job.payload, run.current)
        finally:
            run.seconds = ambient.monotonic() - began

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
        run.end = lambda _run, *how: ended.set_result(how)
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
