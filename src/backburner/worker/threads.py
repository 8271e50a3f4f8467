"""The pool of threads that plain functions run in.

1. ``submit`` puts the call on one queue that all threads read; while all are busy it first starts one more.
2. A thread takes a call, runs it, and appends the outcome to a deque. It wakes the loop only when no wake-up
   is pending: whatever finishes until the loop comes round is delivered in one go, on the loop's thread.
3. What no thread has taken can be taken back: a call is taken by one thread or by the loop, never by both.
4. ``Ticket.interrupt`` raises an exception inside the thread. CPython delivers it a little later, when the
   pool's own code or the next call may be running. So a thread has a gate, a re-entrant lock: an interrupt
   is sent while holding it, and the thread takes it when the call ends, until the call counts as ended.
   a. Once the gate is taken no interrupt can be sent for this ticket.
   b. One sent before may arrive between the call's end and the gate. Its handler takes the gate at once, in
      a single C call, so that one more at most can arrive, and an outer handler absorbs that.
   c. What has not arrived by then is made to, there: the thread goes on with nothing pending.
   d. Unless the call returned in peace nobody knows how often it took the gate: it goes on with a new one.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import takewhile
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

Outcome = tuple[Any, BaseException | None]
Done = Callable[..., None]
Call = tuple["Ticket", Callable[..., Any], Done, tuple[Any, ...]]


@cache
def _raiser() -> Callable[[int, type[BaseException]], int]:
    """What raises an exception in the thread of that id; says in how many."""
    import ctypes  # a fifth of a megabyte, for those whose functions are interrupted

    found = ctypes.pythonapi.PyThreadState_SetAsyncExc
    found.argtypes = (ctypes.c_ulong, ctypes.py_object)
    return found


class NotStarted(Exception):
    """The pool closed before a thread was free for this call: it never began."""


class Ticket:
    """One call in the pool. ``running`` is true from the moment a thread took it until it ended."""

    __slots__ = ("_gate", "_thread", "peaceful", "running")

    def __init__(self) -> None:
        self.running = self.peaceful = False
        self._gate: threading.RLock | None = None  # its thread's: to make one took half as long as the call
        self._thread = 0

    def interrupt(self, error: type[BaseException]) -> bool:
        """Raise `error` (made without arguments) in the call at its next bytecode; False if it does not run.

        True means sent: a call that ends first never sees it, one that waits in C sees it afterwards.
        """
        gate = self._gate
        raise_in_thread = _raiser()
        if gate is None or not gate.acquire(blocking=False):
            return False
        try:
            return self.running and bool(raise_in_thread(self._thread, error))
        finally:
            gate.release()

    def stack(self) -> str:
        """Return what the call is doing now, as in a traceback; empty when it does not run."""
        frame = sys._current_frames().get(self._thread)
        steps = traceback.walk_stack(frame) if frame else ()
        own = takewhile(lambda step: step[0].f_code is not Ticket.run.__code__, steps)
        lines = traceback.StackSummary.extract(reversed(list(own))).format()
        return "".join(lines) if self.running else ""  # asked last: the thread may have gone on meanwhile

    def run(self, gate: threading.RLock, call: Callable[..., Any], args: tuple[Any, ...]) -> Outcome:
        """Run ``call(*args)`` on this thread, guarded as the module says (step 4)."""
        outcome: Outcome | None = None
        try:
            try:
                self._thread, self._gate = threading.get_ident(), gate
                self.running = True
                outcome = call(*args), None
                gate.acquire()
                self.peaceful = True
            except BaseException as error:  # noqa: BLE001 - SystemExit, too, is the outcome of the call
                outcome = outcome or (None, error)
                gate.acquire()
            _arrive()
        except BaseException as late:  # noqa: BLE001 - the last interrupt
            gate.acquire()
            self.peaceful = False
            outcome = outcome or (None, late)
        self.running = False
        try:
            return outcome
        finally:
            del outcome  # an error's traceback holds this frame: the cycle would keep the job's data


def _arrive() -> None:
    """Let a pending interrupt arrive: CPython delivers it when a function is entered, at the latest."""
    # Clearing it (NULL) would leave CPython 3.11 and 3.12 on the slow path of each of their checks: on 3.12
    # loops ran 40% slower from then on, and on 3.11 the first traced call hung.


class Threads:
    """At most `size` daemon threads. Use it, and its tickets, on the thread of `loop` only."""

    def __init__(self, size: int, loop: asyncio.AbstractEventLoop) -> None:
        self._size = size
        self._loop = loop
        self._queue: SimpleQueue[Call | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._open: set[Ticket] = set()
        self._finished: deque[tuple[Call, Outcome]] = deque()
        self._awake = self._closed = False

    def submit(self, call: Callable[..., Any], done: Done, *args: Any) -> Ticket:
        """Run ``call(*args)`` in a thread, then ``done(*args, value, error)`` on the loop, exactly once."""
        if self._closed:
            raise RuntimeError("the pool is closed: submit before close()")
        if len(self._open) >= len(self._threads) < self._size:
            thread = threading.Thread(target=self._serve, name="backburner-call", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no more threads for us: those that there are take the call
                if not self._threads:
                    raise
            else:
                self._threads.append(thread)
        ticket = Ticket()
        self._open.add(ticket)
        self._queue.put((ticket, call, done, args))
        return ticket

    def take_back(self) -> list[Call]:
        """The calls that no thread has taken, in their order: they are not run, and nobody is told."""
        taken: list[Call] = []
        with suppress(Empty):
            while call := self._queue.get_nowait():
                taken.append(call)
                self._open.discard(call[0])
        return taken

    def close(self, timeout: float) -> list[Ticket]:
        """End the threads, waiting up to `timeout` seconds (the loop is blocked); return what still runs."""
        self._closed = True
        self._finished.extend((call, (None, NotStarted())) for call in self.take_back())
        for _ in self._threads:
            self._queue.put(None)
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._deliver()
        return list(self._open)

    def _serve(self) -> None:
        gate = threading.RLock()
        while item := self._queue.get():
            ticket, call, done, args = item
            self._finished.append((item, ticket.run(gate, call, args)))
            if ticket.peaceful:
                gate.release()
            else:
                gate = threading.RLock()
            del item, ticket, call, done, args  # or an idle thread would keep the last job's data
            if not self._awake:
                self._awake = True
                with suppress(RuntimeError):  # the loop is closed: nobody is left to hear of it
                    self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._awake = False  # before looking: what is appended from here on wakes the loop again
        for _ in range(len(self._finished)):
            (ticket, _, done, args), (value, error) = self._finished.popleft()
            self._open.discard(ticket)
            try:
                done(*args, value, error)
            except Exception as failure:  # noqa: BLE001 - as the loop does for its own callbacks
                self._loop.call_exception_handler({"message": f"{done} failed", "exception": failure})
