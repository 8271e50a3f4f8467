"""What coroutines enqueue, without a thread in between: a connection for each event loop.

1. A thread opens the connection when a loop has enqueued a few times: a program may make a loop for each of
   its calls. Until it is there, and whenever something is wrong, an enqueue is given no answer here, and
   goes another way (`driver.py`).
2. One request is under way at a time. Those that come meanwhile wait in line, and share the next one.
3. A connection that does not answer in time, or says something that nobody asked for, is closed; the next
   enqueue opens another one.

A thread, as other operations have it, was half of the time of an enqueue that nobody shares.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple

from hiredis import HiredisError, ReplyError

from backburner.brokers.redis.errors import code
from backburner.brokers.redis.link import Link
from backburner.brokers.redis.steps import DoEnqueue, shares
from backburner.brokers.together import MOST

logger = logging.getLogger("backburner")
FEW = 10
"""Enqueues after which a loop is thought to go on."""


class Ways(NamedTuple):
    """What the driver does for a line."""

    open: Callable[[], Future[Link]]
    """In a thread."""
    request: Callable[[Sequence[DoEnqueue]], bytes]
    """The one request for several."""
    patience: float
    """Seconds for an answer."""


class Lines:
    """The event loops of one process that enqueue. A forked child makes another object."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._lines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = weakref.WeakKeyDictionary()

    def ask(self, step: DoEnqueue) -> asyncio.Future[Any] | None:
        """The reply, which is None where it went wrong; nothing while the loop has no connection."""
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            line = self._lines[loop] = _Line(self._ways)
        return line.ask(loop, step)

    def close(self) -> None:
        """Let go of the connections, each when what is under way is answered."""
        lines, self._lines = self._lines, weakref.WeakKeyDictionary()
        for loop, line in lines.items():
            with suppress(RuntimeError):  # it is closed, and its connection with it
                loop.call_soon_threadsafe(line.close, loop)


class _Line:
    """That of one loop, which is not kept alive by it."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._link: Link | None = None
        self._end: Callable[[], object] = _nothing
        """Closes the connection, also when the loop is gone."""
        self._asked = 0
        self._opening = False
        self._closing = False
        self._waiting: deque[tuple[DoEnqueue, asyncio.Future[Any]]] = deque()
        self._under_way: list[tuple[DoEnqueue, asyncio.Future[Any]]] = []
        self._unsent = b""
        self._late: asyncio.TimerHandle | None = None

    def ask(self, loop: asyncio.AbstractEventLoop, step: DoEnqueue) -> asyncio.Future[Any] | None:
        if self._link is None:
            self._asked += 1
            if self._asked > FEW and not (self._opening or self._closing):
                self._open(loop)
            return None
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((step, future))
        if not self._under_way:
            self._ask(loop)
        return future

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        self._closing = True
        if not self._under_way:
            self._lose(loop)

    # The connection ----------------------------------------------------------------------------------

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        self._opening = True

        def tell(opened: Future[Link]) -> None:
            try:
                loop.call_soon_threadsafe(self._opened, loop, opened)
            except RuntimeError:  # the loop was closed meanwhile
                if opened.exception() is None:
                    opened.result().close()

        self._ways.open().add_done_callback(tell)

    def _opened(self, loop: asyncio.AbstractEventLoop, opened: Future[Link]) -> None:
        self._opening = False
        if (error := opened.exception()) is not None:
            logger.debug("an event loop has no connection of its own: %s", error)
            return
        link = self._link = opened.result()
        link.unblock()
        self._end = weakref.finalize(loop, link.close)
        loop.add_reader(link.socket, self._read, loop)
        if self._closing:
            self._lose(loop)

    def _lose(self, loop: asyncio.AbstractEventLoop) -> None:
        """Close it: who waits goes another way."""
        link, self._link = self._link, None
        if link is not None:
            loop.remove_reader(link.socket)
            loop.remove_writer(link.socket)
            self._end()
        self._under_way += self._waiting
        self._waiting.clear()
        self._answer([None] * len(self._under_way))

    # One request after the other ---------------------------------------------------------------------

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        """With all that wait."""
        while self._waiting and len(self._under_way) < MOST:
            if not (asked := self._waiting.popleft())[1].done():  # it was called off
                self._under_way.append(asked)
        if not self._under_way:
            return
        try:
            self._unsent = self._ways.request([step for step, _ in self._under_way])
        except Exception:
            logger.debug("a shared request went wrong: each asks by itself", exc_info=True)
            self._answer([None] * len(self._under_way))
            self._ask(loop)
            return
        self._late = loop.call_later(self._ways.patience, self._lose, loop)
        self._write(loop)
        if self._unsent and self._link is not None:
            loop.add_writer(self._link.socket, self._write, loop)

    def _write(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._link is not None
        try:
            self._unsent = self._link.send_now(self._unsent)
        except OSError:
            self._lose(loop)
        else:
            if not self._unsent:
                loop.remove_writer(self._link.socket)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._link is not None
        try:
            answer = self._link.read_now()
        except (HiredisError, OSError):
            self._lose(loop)
            return
        if answer is False:
            return
        if isinstance(answer, ReplyError) and code(answer) == "NOSCRIPT":
            answer = None
        if isinstance(answer, ReplyError) or not self._under_way:
            self._lose(loop)
            return
        self._answer(shares([step for step, _ in self._under_way], answer))
        if self._closing:
            self._lose(loop)
        else:
            self._ask(loop)

    def _answer(self, replies: Sequence[Any]) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        answered, self._under_way = self._under_way, []
        for (_, future), reply in zip(answered, replies, strict=True):
            if not future.done():
                future.set_result(reply)


def _nothing() -> None:
    """There is no connection."""
