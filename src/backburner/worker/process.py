"""One worker process as its supervisor sees it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from backburner.worker.blackbox import BlackBox
from backburner.worker.messages import Hello, Line, Message, Pulse, Refused, StopNow

if TYPE_CHECKING:
    from backburner.worker.forkserver import Forked, ForkServer

logger = logging.getLogger("backburner")
DUMP_TIME = 1.0
"""Seconds that a process has to print its stacks."""
KILL_AFTER = 5.0
"""Seconds beyond its grace time after which a process that was told to stop is killed."""
LIMIT = 16 * 1024 * 1024
"""Bytes of the longest message: `Hello` names every task."""


class WorkerProcess:
    """A running process and the line to it."""

    def __init__(self, process: Forked, line: Line, blackbox: BlackBox) -> None:
        self._process = process
        self.line = line
        self.blackbox = blackbox
        self.worker_id = ""
        self.started = False
        """Whether it is registered under its id and was told to start."""
        self.hello: Hello | None = None
        self.pulse: Pulse | None = None
        self.silent = 0.0
        """Seconds since its last pulse, not counting those in which the supervisor itself stood still."""
        self.stopping = False
        self.refused: Refused | None = None
        self.outgrown = False
        self._ending: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, forks: ForkServer, slots: int) -> WorkerProcess:
        ours, theirs = socket.socketpair()
        blackbox, memory = BlackBox.make(slots)
        try:
            process = await forks.fork(theirs.fileno(), memory)
        finally:
            theirs.close()
            os.close(memory)
        found = cls(process, Line(*await asyncio.open_connection(sock=ours, limit=LIMIT)), blackbox)
        found._ending = asyncio.create_task(found._hang_up_for_it(ours))
        return found

    async def _hang_up_for_it(self, ours: socket.socket) -> None:
        """A process that user code forked there has a copy of the socket, which would stay open with it."""
        await self._process.wait()
        with suppress(OSError):
            ours.shutdown(socket.SHUT_RD)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, message: Message) -> None:
        if self.started:
            self.line.send(message)

    def stop(self, grace: float) -> None:
        """Tell it to end; kill it if it does not."""
        self.stopping = True
        if self.started:
            self.line.send(StopNow(grace))
            asyncio.get_running_loop().call_later(grace + KILL_AFTER, self._kill_late)
        else:
            self.kill()

    def _kill_late(self) -> None:
        if not self._process.ended:
            logger.error("worker %s did not end within its grace time, and is killed", self.worker_id)
            self.kill()

    def kill(self) -> None:
        self._process.signal(signal.SIGKILL)

    async def dump_and_kill(self) -> None:
        """Have it print the stacks of all its threads, then kill it."""
        self._process.signal(signal.SIGUSR2)
        await asyncio.sleep(DUMP_TIME)
        self.kill()

    async def wait(self) -> int:
        """The exit code, once it has ended."""
        code = await self._process.wait()
        await self.line.close()
        return code
