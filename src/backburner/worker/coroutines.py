"""Coroutine functions on the worker's loop.

1. Jobs that start stand in a line, and one asyncio task, a server, runs them one after the other: each in a
   context of its own, as in a task of its own.
2. A job that waits for something keeps its server for itself, to be cancelled by; what stands behind it gets
   a new one. So a coroutine that finishes without waiting costs no task: a third of what a job costs here.
3. The jobs of a task that waited last time get a server each at once: in a line they would start one turn of
   the loop after the other.
4. A server that somebody has asked to be cancelled takes no further job.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Generator
from contextvars import Context, copy_context
from types import coroutine
from typing import TYPE_CHECKING, Any

from backburner import ambient
from backburner.worker.call import acall

if TYPE_CHECKING:
    from backburner.app import Backburner
    from backburner.context import StopReason
    from backburner.worker.executors import Run

Line = deque["Run"]


class Coroutines:
    """Runs attempts on `loop`."""

    def __init__(self, app: Backburner, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop
        self._line: Line | None = None
        """What the next server will run, while there is one that has not begun or is at it."""
        self._waiting: set[str] = set()
        """The tasks whose last job waited for something."""

    def start(self, run: Run) -> None:
        if run.job.task in self._waiting:
            self._serve_by_a_task(deque((run,)))
        elif self._line is not None:
            self._line.append(run)
        else:
            self._line = deque((run,))
            self._serve_by_a_task(self._line)

    def interrupt(self, run: Run, reason: StopReason) -> None:
        if run.handle is not None:  # else its turn comes, and it will not begin
            run.handle.cancel()

    async def close(self) -> None:
        """Nothing is held between attempts."""

    def _serve_by_a_task(self, line: Line) -> None:
        # Nobody needs it: the loop holds it until it begins, and whoever waits holds it as the handle.
        _ = asyncio.Task(self._serve(line), loop=self._loop)

    async def _serve(self, line: Line) -> None:
        server = asyncio.current_task()
        assert server is not None
        waited = False
        try:
            while line and not waited and not server.cancelling():
                run = line.popleft()
                value: bytes | None = None
                error: BaseException | None = None
                began = ambient.monotonic()
                try:
                    if run.current.stop_reason is not None:
                        raise asyncio.CancelledError
                    context = copy_context()
                    attempt = acall(self._app, run.task, run.job.payload, run.current)
                    first = context.run(attempt.send, None)
                    waited = True
                    run.handle = server
                    self._waiting.add(run.job.task)
                    self._go_on(line)
                    value = await _rest(attempt, context, first)
                except StopIteration as end:
                    value = end.value
                except BaseException as raised:  # noqa: BLE001 - SystemExit, too, is an outcome
                    error = raised
                run.seconds = ambient.monotonic() - began
                if not waited:
                    self._waiting.discard(run.job.task)
                run.end(run, value, error, None)
        finally:
            if not waited:
                self._go_on(line)

    def _go_on(self, line: Line) -> None:
        """Without the server that had it."""
        if line:
            self._serve_by_a_task(line)
        elif self._line is line:
            self._line = None


@coroutine
def _rest(
    attempt: Coroutine[Any, Any, bytes | None], context: Context, future: Any
) -> Generator[Any, Any, bytes | None]:
    """The steps of an attempt from the first thing on that it waits for."""
    while True:
        try:
            try:
                value = yield future
            except BaseException as error:  # noqa: BLE001 - handed on as it is
                future = context.run(attempt.throw, error)
            else:
                future = context.run(attempt.send, value)
        except StopIteration as end:
            result: bytes | None = end.value
            return result
