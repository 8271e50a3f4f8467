"""Processes of their own for `cpu=True` functions: they use a core each, and can be killed.

1. A process is started when a job finds none idle, and is kept for the next one.
2. Request and reply travel over a socket pair as JSON with a length in front. The process judges what
   the function raised by the retry policy, because an exception cannot travel: its verdict can.
3. Before its reply the process sends an empty message when it has loaded the task: the time limit counts
   from there (until then it has 60 s more). Otherwise a limit shorter than the imports would strike in each
   attempt.
4. To stop an attempt is to kill its process. One that dies unasked crashed with its job: a poison pill
   hurts nobody but itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from backburner.control import Stop
from backburner.job import JobRecord
from backburner.worker.outcome import ProcessDied, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from backburner.context import StopReason
    from backburner.worker.executors import Run

LENGTH = struct.Struct("!I")
LOADING_TIME = 60.0
"""Seconds that a process may take to start and to import the task, for a job with a time limit."""


class Request(msgspec.Struct):
    """Run this job with the task found at `module` and `qualname`."""

    module: str
    qualname: str
    job: JobRecord
    limit: float | None


class Reply(msgspec.Struct):
    """What became of it: a result, or a verdict."""

    result: bytes | None = None
    follow_ups: tuple[JobRecord, ...] = ()
    verdict: Verdict | None = None
    completed: bool = False
    """It called `complete_in`, with that result."""


class _Slot:
    """One process and the socket to it."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.process = process
        self._reader = reader
        self._writer = writer
        self._ending: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls) -> _Slot:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "backburner.worker.cpu", str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        found = cls(process, *await asyncio.open_connection(sock=ours))
        found._ending = asyncio.create_task(found._hang_up_for_it(ours))
        return found

    async def _hang_up_for_it(self, ours: socket.socket) -> None:
        """As in `process.py`."""
        await self.process.wait()
        with suppress(OSError):
            ours.shutdown(socket.SHUT_RD)

    async def ask(self, request: Request, begins: Callable[[], None]) -> Reply:
        """Have the job run; `begins` is called when its task has been loaded."""
        data = msgspec.json.encode(request)
        self._writer.write(LENGTH.pack(len(data)) + data)
        while not (length := await self._length()):
            begins()
        return msgspec.json.decode(await self._reader.readexactly(length), type=Reply)

    async def _length(self) -> int:
        (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
        return int(length)

    @property
    def ended(self) -> bool:
        return self._reader.at_eof()

    def kill(self) -> None:
        # Not the method of asyncio's: that one looks first whether the process has ended, and takes the exit
        # code away from who waits for it.
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)

    async def close(self) -> None:
        self.kill()
        self._writer.close()
        await self.process.wait()


class Processes:
    """The processes of one worker, `size` at most (the worker starts no more jobs than that)."""

    def __init__(self, size: int) -> None:
        self._idle: list[_Slot] = []
        self._runs: set[asyncio.Task[None]] = set()
        self.size = size

    def start(self, run: Run) -> None:
        running = asyncio.get_running_loop().create_task(self._run(run))
        self._runs.add(running)
        running.add_done_callback(self._runs.discard)

    def interrupt(self, run: Run, reason: StopReason) -> None:
        slot: _Slot | None = run.handle
        if slot is not None:
            slot.kill()

    async def close(self) -> None:
        if self._runs:
            await asyncio.wait(self._runs)
        for slot in self._idle:
            await slot.close()

    async def _slot(self) -> _Slot:
        while self._idle:
            slot = self._idle.pop()
            if not slot.ended:
                return slot
            await slot.close()  # it died while it had no job: the next one must not be blamed
        return await _Slot.open()

    async def _run(self, run: Run) -> None:
        began = time.monotonic()

        def begins() -> None:
            nonlocal began
            began = time.monotonic()
            _arm(run, 0.0)

        _arm(run, LOADING_TIME)
        try:
            slot = await self._slot()
        except OSError as error:  # no memory or no descriptor for one more process: a failure like any other
            run.end(run, None, error, None)
            return
        run.handle = slot
        if run.current.stop_reason is not None:
            slot.kill()
        try:
            reply = await slot.ask(_request(run), begins)
        except (EOFError, ConnectionError):
            await slot.close()
            run.end(run, None, Stop() if run.current.stop_reason else ProcessDied(), None)
            return
        run.seconds = time.monotonic() - began
        run.handle = None  # the process is the next job's from here on: it must not die for this one
        self._idle.append(slot)
        for record in reply.follow_ups:
            run.current.follow(record)
        if reply.completed:
            run.current.completion = run.current.succeeded(reply.result)
        run.end(run, reply.result, None, reply.verdict)


def _arm(run: Run, more: float) -> None:
    if run.limit is not None:
        run.arm(run.limit + more)


def _request(run: Run) -> Request:
    function: Any = run.task.function
    module = function.__module__
    if module == "__main__":
        module = run.task.name.removesuffix(f".{function.__qualname__}")
    return Request(module, function.__qualname__, run.job, run.limit)
