"""Wake-ups between processes that share one database file, without polling.

1. Who waits makes a named pipe in the folder `FILE-wake`; its name carries the topics it listens to, so the
   folder lists exactly those who wait now, and for what. It removes the pipe when it stops waiting.
2. Who commits work lists the folder (a few microseconds when nobody waits) and writes one byte into as many
   pipes as there is work for. A pipe without a reader belongs to a dead process: it is removed.
3. Polling is the fallback: ten times a second (fifty without pipes) a waiter looks at the time stamp of the
   write-ahead log. That finds jobs enqueued inside a caller's own transaction, and is all there is where
   pipes cannot be made. Who waits for no job to begin or end, but to do upkeep, looks twice a second.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import select
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

POLL = 0.1
POLL_WITHOUT_PIPES = 0.02
POLL_OF_UPKEEP = 0.5
"""Upkeep is told of all but a caller's own commit, and of that it need not know at once."""
UPKEEP = ("stage", "worker:")
"""How its topics begin."""
LONGEST = 5.0
"""Seconds of one wait at most: a wake-up can be missed, and whoever waits looks again after each wait."""
_numbers = itertools.count()


class Wakes:
    """The folder of pipes beside the database at `path`."""

    def __init__(self, path: str) -> None:
        self._folder = f"{path}-wake"
        self._log = f"{path}-wal"

    def send(self, counts: Mapping[str, int]) -> None:
        """Wake up to `counts[topic]` waiters of each topic."""
        for name, topic in self._listening(counts):
            if counts[topic] > 0 and self._write(name):
                counts = {**counts, topic: counts[topic] - 1}

    @contextmanager
    def listen(self, topics: Sequence[str]) -> Iterator[PipeWaiter]:
        codes = ".".join(map(_code, topics))
        name = f"{os.getpid()}-{next(_numbers)}.{codes if len(codes) < 200 else _any(topics)}"
        path = os.path.join(self._folder, name)
        pipe = self._make(path)
        try:
            upkeep = bool(topics) and all(topic.startswith(UPKEEP) for topic in topics)
            poll = POLL_WITHOUT_PIPES if pipe is None else POLL_OF_UPKEEP if upkeep else POLL
            yield PipeWaiter(pipe, self._log, poll)
        finally:
            if pipe is not None:
                with suppress(FileNotFoundError):
                    os.unlink(path)
                os.close(pipe)

    def _make(self, path: str) -> int | None:
        try:
            with suppress(FileExistsError):
                os.mkdir(self._folder)
            os.mkfifo(path)
            # Opened for writing too, so that the pipe never reports an end of file.
            return os.open(path, os.O_RDWR | os.O_NONBLOCK)
        except (OSError, AttributeError):  # no named pipes on this system, or no right to make one here
            return None

    def _listening(self, topics: Iterable[str]) -> Iterator[tuple[str, str]]:
        names = self._pipes()
        if names:
            # Few wait for one job, and a batch ends hundreds: most need no code.
            kinds = {code[0] for name in names for code in name.split(".")[1:] if code}
            codes = {_code(topic): topic for topic in topics if topic[0] in kinds}
            for name in names:
                for code in name.split(".")[1:]:
                    if len(code) == 1:
                        yield from ((name, topic) for topic in codes.values() if topic[0] == code)
                    elif code in codes:
                        yield name, codes[code]

    def _pipes(self) -> list[str]:
        try:
            return os.listdir(self._folder)
        except OSError:  # nobody has waited yet, or the folder is another user's own
            return []

    def _write(self, name: str) -> bool:
        path = os.path.join(self._folder, name)
        try:
            pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno == errno.ENXIO:
                with suppress(OSError):
                    os.unlink(path)
            return False
        try:
            os.write(pipe, b"!")
        except BlockingIOError:
            pass  # the pipe is full: that waiter has been woken many times over
        except BrokenPipeError:
            return False  # it stopped waiting just now
        finally:
            os.close(pipe)
        return True


class PipeWaiter:
    """Waits on one pipe, or on the write-ahead log alone when there is none."""

    def __init__(self, pipe: int | None, log: str, poll: float) -> None:
        self._pipe = pipe
        self._log = log
        self._poll = poll
        self._seen = self._stamp()

    def wait(self, timeout: float | None) -> bool:
        for pause in self._pauses(timeout):
            if self._pipe is None:
                time.sleep(pause)
            elif _readable(self._pipe, pause):
                return self._drain(self._pipe)
        return False

    async def wait_async(self, timeout: float | None) -> bool:
        loop = asyncio.get_running_loop()
        pauses = self._pauses(timeout)
        ended: asyncio.Future[bool] = loop.create_future()
        timer: asyncio.TimerHandle | None = None

        def end(written: bool) -> None:
            if not ended.done():
                ended.set_result(written)

        def look() -> None:
            # A timer and no more: with `asyncio.wait_for` two idle processes took 0.9% of a core, not 0.6.
            nonlocal timer
            if (pause := next(pauses, None)) is None:
                end(False)
            else:
                timer = loop.call_later(pause, look)

        if self._pipe is not None:
            loop.add_reader(self._pipe, end, True)
        try:
            look()
            return await ended and self._pipe is not None and self._drain(self._pipe)
        finally:
            if timer is not None:
                timer.cancel()
            if self._pipe is not None:
                loop.remove_reader(self._pipe)

    def _pauses(self, timeout: float | None) -> Iterator[float]:
        """Short pauses until the time is up or the database has changed."""
        end = time.monotonic() + (LONGEST if timeout is None else min(timeout, LONGEST))
        while (left := end - time.monotonic()) > 0:
            yield min(left, self._poll)
            stamp = self._stamp()
            if stamp != self._seen and time.monotonic() < end:  # else the next wait ends with it
                self._seen = stamp
                return

    def _stamp(self) -> tuple[int, int]:
        try:
            status = os.stat(self._log)
        except OSError:  # not there yet, or closed to this user: then the pipes and the timeout have to do
            return (0, 0)
        return (status.st_mtime_ns, status.st_size)

    def _drain(self, pipe: int) -> bool:
        with suppress(BlockingIOError):
            os.read(pipe, 65536)
        return True


def _readable(pipe: int, seconds: float) -> bool:
    poll = select.poll()  # select() knows no descriptor above 1,023
    poll.register(pipe, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _code(topic: str) -> str:
    return f"{topic[0]}{zlib.crc32(topic.encode()):08x}"


def _any(topics: Iterable[str]) -> str:
    """Too many topics for a file name: listen to every topic of these kinds."""
    return ".".join(sorted({topic[0] for topic in topics}))
