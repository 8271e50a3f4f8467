"""What many ask for at the same time is asked for once.

1. Whoever asks when nobody else does is served at once, by itself: nothing waits for a timer.
2. Who asks meanwhile waits in line with the others. A thread serves them, all that wait together, until the
   line is empty.
3. A round that goes wrong, for whatever reason, leaves each without an answer: it then asks by itself, and
   gets an error of its own.
4. An exception may be thrown into the thread of a caller at any point (a time limit, Ctrl-C), and never into
   the one that serves others. So nobody waits for an answer that does not come.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from backburner.brokers.threads import Threads

logger = logging.getLogger("backburner")
T = TypeVar("T")
R = TypeVar("R")
MOST = 100
"""Requests that are served together; a bound on how long one round can take."""


class _Request(Generic[T, R]):
    """One that waits: in a thread, or in a coroutine for `future`."""

    __slots__ = ("answer", "answered", "asked", "future", "given_up")

    def __init__(self, asked: T, future: asyncio.Future[R | None] | None = None) -> None:
        self.asked = asked
        self.answer: R | None = None
        self.answered = threading.Lock()
        self.answered.acquire()
        self.future = future
        self.given_up = False


class Together(Generic[T, R]):
    """`serve` gives the answers to several requests, in their order. A forked child makes another object."""

    def __init__(self, serve: Callable[[list[T]], Sequence[R]], name: str) -> None:
        self._serve = serve
        self._line: deque[_Request[T, R]] = deque()
        self._turn = threading.Lock()
        self._thread = Threads(1, name)
        self._called = threading.Lock()
        """Held while the thread is on its way to the turn."""

    def ask(self, asked: T) -> R | None:
        """The answer; nothing if it went wrong."""
        turns: list[bool] = []
        try:
            # One call, in C: an exception that is thrown into this thread comes before it, or after it.
            turns.extend(map(self._turn.acquire, [False]))
            if turns[0]:
                return self._answers([asked])[0]
        finally:
            if turns and turns[0]:
                self._turn.release()
        request = _Request[T, R](asked)
        try:
            self._join(request)
            request.answered.acquire()
        finally:
            request.given_up = True
        return request.answer

    def aask(self, asked: T) -> asyncio.Future[R | None]:
        """The same for the running loop: in line when this returns."""
        future: asyncio.Future[R | None] = asyncio.get_running_loop().create_future()
        self._join(_Request(asked, future))
        return future

    def close(self) -> None:
        self._thread.close()

    def _join(self, request: _Request[T, R]) -> None:
        called: list[bool] = []
        self._line.append(request)
        try:
            called.extend(map(self._called.acquire, [False]))
            if called[0]:
                self._thread.submit(self._serve_line)
        except BaseException:
            if called and called[0]:  # perhaps in vain, as in the middle of the start of a thread
                self._thread.submit(self._serve_line)
            raise

    def _answers(self, asked: list[T]) -> Sequence[R | None]:
        try:
            return self._serve(asked)
        except Exception:
            logger.debug("a shared request went wrong: each asks by itself", exc_info=True)
            return [None] * len(asked)

    # In the thread -----------------------------------------------------------------------------------

    def _serve_line(self) -> None:
        with self._turn:
            with suppress(RuntimeError):  # it was called twice
                self._called.release()  # who joins from now on calls again
            while self._line:
                taken = [self._line.popleft() for _ in range(min(len(self._line), MOST))]
                requests = [request for request in taken if not request.given_up]
                answers = self._answers([request.asked for request in requests]) if requests else []
                told: dict[asyncio.AbstractEventLoop, list[_Request[T, R]]] = {}
                for request, answer in zip(requests, answers, strict=True):
                    request.answer = answer
                    if request.future is None:
                        request.answered.release()
                    else:
                        told.setdefault(request.future.get_loop(), []).append(request)
                for loop, theirs in told.items():
                    with suppress(RuntimeError):  # it was closed, and nobody waits there
                        loop.call_soon_threadsafe(_tell, theirs)


def _tell(requests: list[_Request[T, R]]) -> None:
    for request in requests:
        if request.future is not None and not request.future.done():
            request.future.set_result(request.answer)
