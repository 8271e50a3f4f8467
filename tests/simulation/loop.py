"""An event loop under a virtual clock, whose scheduler is drawn from a seed.

1. Each callback belongs to the simulated process in whose context it was scheduled. Within one process
   callbacks run in the order that asyncio promises; which process goes next is drawn.
2. Time stands still while anything can run, and then jumps to the next timer.
3. A frozen process keeps what comes for it until it thaws. A dead one is given nothing any more.
4. Timers of who waits idly are kept apart. Where nothing else can happen for a while the loop leaps to the
   end of it, and they are put off: `leap` says how far that is, and does what they would have done meanwhile.
"""

from __future__ import annotations

import asyncio
import gc
import heapq
import math
import sys
from asyncio import events
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any

MOST = 300_000
"""Callbacks of one run: more of them go in circles."""

LATE = 1e-6
"""Seconds by which an idle timer strikes late: more than rounding loses, or who woke too early asks again."""


class Strand:
    """What a simulated process is to the scheduler."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[Any] = deque()
        self.frozen = False
        self.dead = False


STRAND: ContextVar[Strand] = ContextVar("strand")


class Handle(asyncio.Handle):
    """Without what asyncio does in debug mode: there are tens of thousands in a run."""

    __slots__ = ()

    def __init__(
        self, callback: Callable[..., object], args: Any, loop: Any, context: Context | None
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop, self._callback, self._args = loop, callback, args
        self._cancelled, self._repr, self._source_traceback = False, None, None


class TimerHandle(asyncio.TimerHandle):
    """The same."""

    __slots__ = ()

    def __init__(
        self, when: float, callback: Callable[..., object], args: Any, loop: Any, context: Context | None
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop, self._callback, self._args = loop, callback, args
        self._cancelled, self._repr, self._source_traceback = False, None, None
        self._when, self._scheduled = when, True


class VirtualLoop(asyncio.BaseEventLoop):
    """`outside` is the strand of whatever belongs to no process: the network, the store, the faults."""

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self.now = 0.0
        self.steps = 0
        self.leapt = 0.0
        """Seconds of `now` that were leapt over."""
        self.leap: Callable[[float], float] = lambda until: 0.0
        """Given when the next timer strikes: for how many seconds there would be nothing but idle looks."""
        self.outside = Strand("outside")
        self.strands = [self.outside]
        self._chance = chance
        self._stop_asked = False
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._idle: list[tuple[float, int, asyncio.TimerHandle]] = []
        """By their time less what had been leapt over."""
        self._numbers = 0
        self._graves: list[object] = []

    def time(self) -> float:
        return self.now

    def strand(self, name: str) -> Strand:
        strand = Strand(name)
        self.strands.append(strand)
        return strand

    def kill(self, strand: Strand) -> None:
        """It ends where it stands, without a word."""
        strand.dead = True
        # Held until the end: a coroutine that nobody holds is closed, and the dead do not clean up.
        self._graves.append((asyncio.all_tasks(self), strand.ready))
        self.strands.remove(strand)

    def begin(self, strand: Strand, work: Any) -> asyncio.Task[Any]:
        """A task in that process."""
        context = Context()
        context.run(STRAND.set, strand)
        return context.run(self.create_task, work)

    def bury(self) -> None:
        """Close what the dead left behind, quietly."""
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        events._set_running_loop(self)
        try:
            for strand in self.strands:
                strand.dead = True
            for task in asyncio.all_tasks(self):
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with suppress(BaseException):
                    task.get_coro().close()
            self._graves.clear()
            self._timers.clear()
            self._idle.clear()
            gc.collect()
        finally:
            events._set_running_loop(None)
            sys.unraisablehook = hook

    # What asyncio asks of a loop ----------------------------------------------------------------------

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = Handle(callback, args, self, context)
        strand = handle._context.get(STRAND, self.outside)
        if strand.dead:  # it was killed in the middle of what it does
            self._graves.append(handle)
        else:
            strand.ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = TimerHandle(when, callback, args, self, context)
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def idle_later(self, delay: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """`call_later`, for who looks in vain unless something has happened."""
        when = self.now + delay + LATE - self.leapt
        handle = TimerHandle(when, callback, args, self, None)
        self._numbers += 1
        heapq.heappush(self._idle, (when, self._numbers, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when its time comes."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """There are no threads: it is done by the way."""
        future = self.create_future()

        def perform() -> None:
            try:
                future.set_result(func(*args))
            except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
                future.set_exception(error)

        self.call_soon(perform)
        return future

    def run_forever(self) -> None:
        self._stop_asked = False
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=None, finalizer=lambda _: None)  # the dead do not clean up
        events._set_running_loop(self)
        try:
            while not self._stop_asked:
                self._step()
        finally:
            events._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)

    def stop(self) -> None:
        self._stop_asked = True

    def is_running(self) -> bool:
        return events._get_running_loop() is self

    def get_debug(self) -> bool:
        return False

    def _step(self) -> None:
        runnable = [strand for strand in self.strands if strand.ready and not strand.frozen]
        if not runnable:
            self._pass_time()
            return
        strand = runnable[int(self._chance.random() * len(runnable))] if len(runnable) > 1 else runnable[0]
        handle = strand.ready.popleft()
        if not handle._cancelled:
            self.steps += 1
            assert self.steps < MOST, f"going in circles at {self.now:.3f}: {handle}"
            try:
                handle._context.run(handle._callback, *handle._args)
            except Exception as error:  # noqa: BLE001 - what asyncio could tell nobody
                self.call_exception_handler({"message": f"in {handle}", "exception": error})

    def _pass_time(self) -> None:
        """To the next timer, and every other of that moment."""
        timer, idle = _next(self._timers), _next(self._idle) + self.leapt
        if idle < timer and (seconds := self.leap(timer)) > 0:
            self.leapt += seconds
            self.now += seconds
            idle += seconds
        following = min(timer, idle)
        assert following < math.inf, "nothing will ever happen again"
        self.now = max(self.now, following)
        self._strike(self._timers, 0.0)
        self._strike(self._idle, self.leapt)

    def _strike(self, timers: list[tuple[float, int, asyncio.TimerHandle]], put_off: float) -> None:
        while timers and timers[0][0] + put_off <= self.now:
            handle = heapq.heappop(timers)[2]
            strand = handle._context.get(STRAND, self.outside)  # type: ignore[attr-defined]
            if not (handle._cancelled or strand.dead):
                strand.ready.append(handle)


def _next(timers: list[tuple[float, int, asyncio.TimerHandle]]) -> float:
    while timers and timers[0][2]._cancelled:
        heapq.heappop(timers)
    return timers[0][0] if timers else math.inf
