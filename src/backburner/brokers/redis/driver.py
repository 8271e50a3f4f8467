"""The server as one process uses it: a few connections, and what becomes of a request when one is lost.

1. A step of an operation is one script. It takes an idle connection, or opens one, and gives it back. The
   calling thread performs `run`; a few threads of the broker's own perform `arun`.
2. What fails for a reason that passes is sent again on a new connection, with jittered pauses, until
   `patience` seconds are over. They count from when it was asked for: with the server away, a long line that
   waits for the threads is refused when its head is. An exchange is not sent again when the connection was
   lost: its answer may be, too. The worker has pauses of its own, says that it is not ready, and `recover`
   finds the jobs.
3. An exception may be thrown into the performing thread at any point (a time limit, Ctrl-C). The connection
   then holds half a request, or an answer that belongs to nobody: it is closed.
4. There is room for so many connections: who finds none waits until one is given back, within its patience.
   200 threads that all connect at once would be a storm, and slower.
5. Jobs of operations that come at the same time are one script (`DoEnqueue`), those of an event loop on a
   connection of its own (`on_loop.py`). In trouble, and when it fails, for whatever reason, each operation
   goes on by itself.
6. A forked child forgets the connections, and leaves the parent's sessions alone.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from hiredis import HiredisError, ReplyError

from backburner.brokers.base import Operation
from backburner.brokers.clock import ServerClock
from backburner.brokers.forks import begins_anew
from backburner.brokers.gathering import FEW, gathered
from backburner.brokers.loops import Loops
from backburner.brokers.redis import server
from backburner.brokers.redis.address import HANDSHAKE, Address
from backburner.brokers.redis.errors import code, leaves_open, passing, translation
from backburner.brokers.redis.link import Link, packed
from backburner.brokers.redis.on_loop import Line, Ways
from backburner.brokers.redis.schema import encode
from backburner.brokers.redis.scripts import Script, script
from backburner.brokers.redis.steps import Do, DoEnqueue, shares, together
from backburner.brokers.shield import shielded
from backburner.brokers.threads import Threads
from backburner.brokers.together import Together
from backburner.errors import BrokerUnavailable

T = TypeVar("T")
CONNECTIONS = 10
"""In use or kept open; and the threads that serve event loops, at most."""


class Driver:
    """The server at `address`; `clock` gives the time of each statement, or the server does."""

    def __init__(self, address: Address, clock: Callable[[], float] | None) -> None:
        self.address = address
        self.clock = ServerClock(clock)
        self._key = address.key.encode()
        self._scripts: dict[str, Script] = {}
        self._begin()
        self._looked = False
        self._trouble = ""
        """What went wrong last, until something goes well."""
        begins_anew(self)

    def _begin(self) -> None:
        self._idle: deque[Link] = deque()
        self._room: SimpleQueue[None] = SimpleQueue()
        for _ in range(CONNECTIONS):
            self._room.put(None)
        self._threads = Threads(CONNECTIONS, "backburner-redis")
        self._together = Together(self._store, "backburner-redis-enqueue")
        patience = min(self.address.patience, HANDSHAKE)
        opening = partial(self._threads.submit, self.open)
        ways = Ways(opening, self._request, self._forget_idle, patience)
        self._lines = Loops(lambda loop: Line(loop, ways))

    def run(self, operation: Operation[T], asked: float | None = None, step: Any = None) -> T:
        """`asked` is when, on `time.monotonic()`, if not now: patience is counted from there. `step` is the
        first one, if the operation has begun.
        """
        try:
            step = step or next(operation)
            while True:
                if isinstance(step, DoEnqueue):
                    asked = asked or time.monotonic()
                    step = operation.send(self._together.ask(step) if self._gathers(step) else None)
                else:
                    step = operation.send(self.perform(step, asked))
                    asked = None
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            operation.close()

    def arun(self, operation: Operation[T]) -> Awaitable[T]:
        asked = time.monotonic()
        return gathered(
            operation, self._shared, lambda operation, step: self._on_thread(operation, asked, step)
        )

    def _shared(self, step: Do | DoEnqueue) -> Awaitable[Any] | None:
        if not (isinstance(step, DoEnqueue) and self._gathers(step)):
            return None
        return self._lines.of_this().ask(step) or self._together.aask(step)

    def _on_thread(self, operation: Operation[T], asked: float, step: Do | DoEnqueue | None) -> Awaitable[T]:
        return shielded(asyncio.wrap_future(self._threads.submit(self.run, operation, asked, step)))

    def close(self) -> None:
        self._lines.close()
        self._together.close()
        self._threads.close()
        self._forget_idle()

    # One step ----------------------------------------------------------------------------------------

    def _gathers(self, step: DoEnqueue) -> bool:
        return len(step.jobs) <= FEW and not self._trouble

    def _store(self, steps: list[DoEnqueue]) -> Sequence[Any]:
        known, arguments = self._command(together(steps))
        try:
            reply = self._once(known, arguments, time.monotonic() + self.address.patience, sure=False)
        except (HiredisError, OSError) as error:
            if code(error) == "LOST":
                self._forget_idle()
                self._trouble = str(translation(error, self.address.shown))
            raise
        return shares(steps, reply)

    def _request(self, steps: Sequence[DoEnqueue], whole: bool) -> bytes:
        known, arguments = self._command(together(steps))
        script = ("EVAL", known.text) if whole else ("EVALSHA", known.sha)
        request: bytes = packed((*script, *arguments))
        return request

    def _command(self, step: Do) -> tuple[Script, tuple[Any, ...]]:
        known = self._scripts.get(step.name)
        if known is None:
            known = self._scripts[step.name] = script(step.name)
        moment = self.clock.moment
        now = b"" if moment is None else repr(moment).encode()
        return known, (1, self._key, now, encode(step.given), *step.blobs)

    def perform(self, step: Do, asked: float | None = None) -> Any:
        """The reply to one script. Raises `BrokerUnavailable` when patience is over, `BrokerError`."""
        known, arguments = self._command(step)
        began = time.monotonic()
        end = (asked or began) + self.address.patience
        if began > end and self._trouble:
            raise BrokerUnavailable(self._trouble)
        pause = 0.02
        while True:
            try:
                reply = self._once(known, arguments, end, sure=not step.again)
            except (HiredisError, OSError) as error:
                lost = code(error) == "LOST"  # everything else was refused, and not begun
                if lost:
                    self._forget_idle()
                late = time.monotonic() + pause > end or (lost and not step.again)
                if late or not passing(error, self.address.kind):
                    found = translation(error, self.address.shown)
                    self._trouble = str(found) if lost else ""
                    raise found from error
            else:
                self._trouble = ""
                return reply
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, 1.0)

    def _once(self, known: Script, arguments: tuple[Any, ...], end: float, *, sure: bool) -> Any:
        held: list[None] = []
        try:
            # One call, in C: an exception that is thrown into this thread comes before it, or after it.
            held.extend(map(self._room.get, [True], [max(end - time.monotonic(), HANDSHAKE)]))
            return self._ask(self._take(sure=sure), known, arguments)
        except Empty:
            raise BrokerUnavailable(
                f"all {CONNECTIONS} connections of this process to {self.address.shown} are busy: it is too "
                f"slow, or too many threads ask at once. {self._trouble}".strip()
            ) from None
        finally:
            if held:
                self._room.put(None)

    def _ask(self, link: Link, known: Script, arguments: tuple[Any, ...]) -> Any:
        try:
            try:
                reply = link.ask("EVALSHA", known.sha, *arguments)
            except ReplyError as error:
                if code(error) != "NOSCRIPT":  # the server was started again, or another took its place
                    raise
                reply = link.ask("EVAL", known.text, *arguments)
        except ReplyError as error:
            if leaves_open(error):
                self._give_back(link)
            else:
                link.close()
            raise
        except BaseException:
            link.close()
            raise
        self._give_back(link)
        return reply

    # Connections -------------------------------------------------------------------------------------

    def _take(self, *, sure: bool) -> Link:
        """A connection; a sure one was not closed by the server while it was idle."""
        try:
            link = self._idle.pop()
            while sure and not link.is_quiet():
                link.close()
                link = self._idle.pop()
        except IndexError:
            return self.open()
        return link

    def _give_back(self, link: Link) -> None:
        self._idle.append(link)

    def _forget_idle(self) -> None:
        """Close what is idle: where one connection was lost the others mostly are, too."""
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def open(self) -> Link:
        """A new connection to the primary; the first one looks at the server, too."""
        link = self.address.primary()
        try:
            if not self._looked:
                server.check(link, self.address.shown)
                self._looked = True
            seconds, microseconds = link.ask("TIME")
            self.clock.saw(int(seconds) + int(microseconds) / 1e6)
        except BaseException:
            link.close()
            raise
        return link

    def after_fork(self) -> None:
        self._begin()
