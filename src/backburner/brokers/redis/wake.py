"""Wake-ups through the server, without polling.

1. Who waits is in a register on the server (`listen.lua`), under its topics and until it says nothing more
   for `SILENCE` seconds. Whoever makes work takes as many off the register as there is work for, in the same
   script, and publishes their numbers on the channels of their processes.
2. A process has one thread that listens on one connection, from its first waiter on. It also keeps the
   register: what waiters ask for gathers while it is busy, and goes in one script.
3. A waiter is put on the register when it is made and whenever it waits after it was taken off. The same
   script looks whether there is work, or whether the job is final: then the waiter is woken at once. So it
   does not matter whether somebody looks before or after it is on the register.
4. A wake-up for a waiter that has gone is passed on to another, if there still is work.
5. While the server cannot be reached waiters poll. When the thread listens again all return once: something
   may have been missed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import selectors
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count

from hiredis import HiredisError

from backburner.brokers.redis.driver import Driver
from backburner.brokers.redis.link import Link
from backburner.brokers.redis.steps import Do
from backburner.errors import BackburnerError

LONGEST = 5.0
"""Seconds of one wait at most: a wake-up can be missed, and whoever waits looks again after each wait."""
POLL = 0.2
"""Seconds of one wait while nobody listens."""
PIECE = 0.1
"""Seconds after which a waiting thread notices that it was interrupted."""
RENEWAL = 15.0
SILENCE = 45
log = logging.getLogger("backburner")


class Wakes:
    """The register of the waiters of this process, and the thread that listens for them."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._numbers = count()  # goes on after `close`: who waits through that is not taken for a later one
        self._start_anew()

    def _start_anew(self) -> None:
        self._process = uuid.uuid4().hex
        self._waiters: dict[int, RedisWaiter] = {}
        self._begin: set[int] = set()
        self._ending: dict[int, Sequence[str]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._bell: tuple[socket.socket, socket.socket] | None = None
        self._closing = False
        self._missed = False
        self.listening = False

    @contextmanager
    def listen(self, topics: Sequence[str]) -> Iterator[RedisWaiter]:
        number = next(self._numbers)
        waiter = RedisWaiter(self, number, topics)
        if topics:
            self._waiters[number] = waiter
            self.want(waiter)
        try:
            yield waiter
        finally:
            if topics:
                self._begin.discard(number)
                if self._waiters.pop(number, None) is not None and waiter.owes():
                    self._ending[number] = topics
                    self._ring()

    def want(self, waiter: RedisWaiter) -> None:
        """Put it on the register, soon."""
        waiter.registered = True
        self._begin.add(waiter.number)
        self._ring()

    def close(self) -> None:
        with self._lock:
            thread, bell = self._thread, self._bell
            self._closing = True
        if thread is not None and bell is not None:
            self._ring()
            thread.join()
            for end in bell:
                end.close()
        self._start_anew()

    def after_fork(self) -> None:
        """The thread stayed with the parent, and so did whoever waits."""
        bell = self._bell
        self._start_anew()
        for end in bell or ():
            end.close()

    def _ring(self) -> None:
        """Let the thread look at what is wanted; start it if there is none."""
        bell = self._bell
        if bell is None:
            with self._lock:
                if self._thread is None:
                    self._bell = socket.socketpair()
                    for end in self._bell:
                        end.setblocking(False)
                    # A daemon: a program that ends without `close` shall end.
                    self._thread = threading.Thread(target=self._run, name="backburner-wakes", daemon=True)
                    self._thread.start()
                bell = self._bell
        if bell is not None:
            with suppress(BlockingIOError, OSError):  # full: it has been rung many times over
                bell[1].send(b"!")

    # The thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        assert self._bell is not None
        bell = self._bell[0]
        pause = 0.1
        while not self._closing:
            began = time.monotonic()
            link: Link | None = None
            try:
                link = self._driver.open()
                self._subscribe(link)
                self._listen(link, bell)
            except (HiredisError, OSError, BackburnerError) as error:
                log.debug("wake-ups are not heard: %s", error)
            finally:
                self.listening, self._missed = False, True
                if link is not None:
                    link.close()
            pause = 0.1 if time.monotonic() - began > 5 else min(2 * pause, 2.0)
            self._rest(bell, pause * random.uniform(0.5, 1.0))

    def _rest(self, bell: socket.socket, pause: float) -> None:
        end = time.monotonic() + pause
        while not self._closing and (left := end - time.monotonic()) > 0:
            _readable(left, bell)
            _drain(bell)

    def _subscribe(self, link: Link) -> None:
        link.ask("SUBSCRIBE", f"{self._driver.address.key}:wake:{self._process}")
        self._begin.update(self._waiters)
        self._register()
        self.listening = True
        if self._missed:
            self._missed = False
            for waiter in list(self._waiters.values()):
                waiter.wake()

    def _listen(self, link: Link, bell: socket.socket) -> None:
        renew_at = time.monotonic() + RENEWAL
        answered = True
        while not self._closing:
            timeout = max(0.0, renew_at - time.monotonic())
            ready = _readable(timeout, link.socket, bell)
            if bell in ready:
                _drain(bell)
            if link.socket in ready:
                answered = True
                while link.has_more():
                    self._hear(link.read())
            if time.monotonic() >= renew_at:
                if not answered:
                    raise TimeoutError("the server said nothing when it was asked")
                answered = False
                link.send("PING")
                self._begin.update(self._waiters)
                renew_at = time.monotonic() + RENEWAL
            self._register()
        with suppress(HiredisError, OSError, BackburnerError):
            self._register()

    def _hear(self, message: Sequence[bytes]) -> None:
        if message[0] == b"message":
            waiter = self._waiters.get(int(message[2]))
            if waiter is not None:
                waiter.registered = not waiter.is_taken_off
                waiter.wake()

    def _register(self) -> None:
        begin, ending = set[int](), dict[int, Sequence[str]]()
        while self._begin:
            begin.add(self._begin.pop())
        while self._ending:
            number, topics = self._ending.popitem()
            ending[number] = topics
        beginning = [each for number in begin if (each := self._waiters.get(number)) is not None]
        if not beginning and not ending:
            return
        given = (
            [part for each in beginning for part in (self._name(each.number), each.topics)],
            [part for number, topics in ending.items() for part in (self._name(number), topics)],
            SILENCE,
        )
        try:
            found = self._driver.perform(Do("listen", given, again=False))
        except BaseException:
            self._ending.update(ending)  # or wake-ups would go on to whoever left
            raise
        for ready in found:
            waiter = self._waiters.get(int(ready.rpartition(b":")[2]))
            if waiter is not None:
                waiter.wake()

    def _name(self, number: int) -> str:
        return f"{self._process}:{number}"


class RedisWaiter:
    """Waits for one wake-up after the other, in a thread or on an event loop, one at a time."""

    def __init__(self, wakes: Wakes, number: int, topics: Sequence[str]) -> None:
        self._wakes = wakes
        self.number = number
        self.topics = topics
        self.registered = False
        # Who is told of work in a queue is taken off the register: it may be busy for long.
        self.is_taken_off = any(topic.startswith("queue:") for topic in topics)
        # Locked until there is a wake-up. Not an Event: a thread interrupted within would keep its lock.
        self._signal = threading.Lock()
        self._signal.acquire()
        self._call: Callable[[], object] | None = None

    def wake(self) -> None:
        with suppress(RuntimeError):  # it has been woken already
            self._signal.release()
        call = self._call
        if call is not None:
            with suppress(RuntimeError):  # its loop is closed
                call()

    def owes(self) -> bool:
        """Whether it is still on the register, or was woken and has not looked."""
        return self.registered or self._signal.acquire(blocking=False)

    def wait(self, timeout: float | None) -> bool:
        woken = self._signal.acquire(blocking=False)
        end = 0.0 if woken else time.monotonic() + self._pause(timeout)
        while not woken and (left := end - time.monotonic()) > 0:
            woken = self._signal.acquire(timeout=min(left, PIECE))
        return woken

    async def wait_async(self, timeout: float | None) -> bool:
        if self._signal.acquire(blocking=False):
            return True
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        self._call = lambda: loop.call_soon_threadsafe(woken.set)
        try:
            pause = self._pause(timeout)
            if not self._signal.acquire(blocking=False):
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), pause)
                return self._signal.acquire(blocking=False)
            return True
        finally:
            self._call = None

    def _pause(self, timeout: float | None) -> float:
        if self.topics and not self.registered:
            self._wakes.want(self)
        longest = LONGEST if self._wakes.listening or not self.topics else POLL
        return max(0.0, longest if timeout is None else min(timeout, longest))


def _readable(timeout: float, *sockets: socket.socket) -> set[object]:
    """Those that have something to read, within so many seconds."""
    with selectors.PollSelector() as selector:  # `select` knows only the first 1,024 files of a process
        for each in sockets:
            selector.register(each, selectors.EVENT_READ)
        return {key.fileobj for key, _ in selector.select(timeout)}


def _drain(bell: socket.socket) -> None:
    with suppress(BlockingIOError):
        bell.recv(4096)
