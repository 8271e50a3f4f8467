"""The fork server: worker processes are forked from it, with all that each of them needs already imported.

1. The supervisor forks it before anything else. There are no threads, connections or event loops yet, which a
   fork would break, and no user code: each worker process loads the app for itself.
2. Sent the descriptors that a new process is to have, it forks, and says the process's id.
3. It says how each process has ended: it is their parent.
4. It ends with the supervisor, as its processes do. Should it end before, the supervisor kills what it had
   forked: nobody would know any more when those end.

As programs of their own, four processes served after 0.86 s and took 139 MB with Redis; forked, after 0.30 s,
and 85 MB (decision 52).
"""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REPORT = struct.Struct("!qi")
"""A process's id, and its exit code or `FORKED`; or 0 and the number of the error that kept it from being."""
FORKED = 1 << 16
MOST = 8
"""Descriptors of one process, at most."""
UNHEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""The supervisor alone answers these: one to the whole group of processes must not cut jobs short."""


class Forked:
    """A process, as who asked for it sees it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code = asyncio.get_running_loop().create_future()

    def end(self, code: int) -> None:
        self._code.set_result(code)

    @property
    def ended(self) -> bool:
        return self._code.done()

    async def wait(self) -> int:
        """Its exit code, once it has ended; minus the number of the signal that ended it."""
        code: int = await asyncio.shield(self._code)
        return code

    def signal(self, number: signal.Signals) -> None:
        if not self.ended:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class ForkServer:
    """The line to it."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self._connection = connection
        self._forked: dict[int, Forked] = {}
        self._asked = asyncio.Lock()
        self._answer: asyncio.Future[Forked] | None = None

    @classmethod
    def start(cls, work: Callable[..., int]) -> ForkServer:
        """Fork it, while this process has nothing but modules.

        In each process that it forks `work` is called with the descriptors, and returns the exit code.
        """
        ours, theirs = socket.socketpair()
        gc.freeze()  # a collection would write to every object, and no page would be shared any more
        if pid := os.fork():
            theirs.close()
            return cls(pid, ours)
        code = 1
        try:
            ours.close()
            descriptors = _serve(theirs)
            code = 0 if descriptors is None else work(*descriptors)
        except BaseException:  # noqa: BLE001 - nothing of it may reach the frames of the supervisor
            sys.excepthook(*sys.exc_info())
        finally:
            try:
                for stream in filter(None, (sys.stdout, sys.stderr)):
                    stream.flush()
            finally:
                # Not sys.exit: a function that does not stop holds its thread, and its job was released.
                os._exit(code)

    async def fork(self, *descriptors: int) -> Forked:
        """A new process that has copies of these. Raises `OSError` where the system refuses another one."""
        async with self._asked:
            self._answer = asyncio.get_running_loop().create_future()
            socket.send_fds(self._connection, [b"\0"], descriptors)
            return await self._answer

    async def listen(self) -> None:
        """Take what it says, until it has ended, which it should not: raises `RuntimeError`."""
        self._connection.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=self._connection)
        try:
            while True:
                self._take(*REPORT.unpack(await reader.readexactly(REPORT.size)))
        except (EOFError, ConnectionError):
            raise RuntimeError(
                "the fork server was killed: no worker process can be started; start the worker again"
            ) from None
        finally:
            writer.close()
            for each in self._forked.values():
                each.signal(signal.SIGKILL)
                each.end(-signal.SIGKILL)

    def close(self) -> None:
        """End it, and wait until it has ended."""
        self._connection.close()
        with suppress(ChildProcessError):  # where whoever started this program ignores SIGCHLD
            os.waitpid(self.pid, 0)

    def _take(self, pid: int, code: int) -> None:
        if code != FORKED and pid:
            self._forked.pop(pid).end(code)
            return
        assert self._answer is not None
        if pid:
            self._forked[pid] = Forked(pid)
            self._answer.set_result(self._forked[pid])
        else:
            self._answer.set_exception(OSError(code, os.strerror(code)))


def _serve(connection: socket.socket) -> list[int] | None:
    """Fork as asked, and tell who ended.

    Returns in each new process, with its descriptors; in the server itself None, once the supervisor is gone.
    """
    for number in UNHEARD:
        signal.signal(number, signal.SIG_IGN)
    name("backburner:fork")
    bell, rope = _bell()
    while True:
        ready, _, _ = select.select([connection, bell], (), ())
        if bell in ready:
            bell.recv(4096)
            for pid, code in _ended():
                connection.sendall(REPORT.pack(pid, code))
        if connection in ready:
            if (descriptors := _received(connection)) is None:
                return None
            if _fork(connection):
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for each in (connection, bell, rope):
                    each.close()
                return descriptors
            for descriptor in descriptors:
                os.close(descriptor)


def _bell() -> tuple[socket.socket, socket.socket]:
    """A pair of sockets, of which the first can be read when a process has ended."""
    bell, rope = socket.socketpair()
    for end in (bell, rope):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(rope.fileno(), warn_on_full_buffer=False)
    return bell, rope


def _received(connection: socket.socket) -> list[int] | None:
    """The descriptors for another process; None once nobody asks."""
    asked, descriptors, _, _ = socket.recv_fds(connection, 1, MOST)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # no program that a job starts is to have them
    return descriptors if asked else None


def _fork(connection: socket.socket) -> bool:
    """Fork, and say what came of it; whether this is the new process."""
    try:
        pid = os.fork()
    except OSError as error:
        connection.sendall(REPORT.pack(0, error.errno or 0))
        return False
    if pid:
        connection.sendall(REPORT.pack(pid, FORKED))
    return not pid


def _ended() -> Iterator[tuple[int, int]]:
    """The processes that have ended, with their exit codes."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            yield found[0], os.waitstatus_to_exitcode(found[1])


def name(process: str) -> None:
    """What `top` and `pstree` call this process, 15 characters at most; they would call all of them alike."""
    with suppress(OSError):  # only Linux has that file
        Path("/proc/self/comm").write_text(process)
