"""What the servers of the tests have in common: a process, a folder and a port of their own.

1. Find the program, or say how to install it (`Missing`).
2. Choose a free port below those that the system gives to outgoing connections: a client that tries the port
   of a dead server again and again would at last be given that port, connect to itself, and keep it. The bus
   of a Redis Cluster, 10,000 above the port, is below them as well.
3. Start the process with its output in a log, as another user where the server refuses to run as root.
4. Look in short steps whether it answers, until a deadline.
5. If it ended because somebody else took the port meanwhile, try another one. Once it has run the port is
   kept: a server comes back from `restart` or `kill` and `start` at the same URL, with its data.
6. A shell beside it, which reads a pipe of ours, kills it when our process dies without having stopped it.
7. `kill` and `freeze` concern the whole family: first stand still, so that nobody starts another child.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import ClassVar, Self

import psutil

from tools.packages import Need, find

PATIENCE = 90.0  # a disk that somebody else writes to may hold up the start of a server for half a minute
PORTS = range(15_000, 22_000)
TAKEN = ("Address already in use", "eaddrinuse")  # as C programs say it, and as Erlang does


class Missing(Exception):
    """A server is not installed; the message says the command that installs it."""


class NotReady(Exception):
    """A server did not do in time what was waited for; the message has the end of its log."""


class Server(ABC):
    """A real server as a child process. It is a context manager: started, and at the end stopped and removed.

    Without a folder it makes a temporary one. So it does whatever the folder when it runs as another user,
    for whom the way to a folder of root's may be closed.
    """

    need: ClassVar[Need]
    account: ClassVar[str | None] = None
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: Path | None = None) -> None:
        self.program = program(self.need)
        self.user = self.account if os.geteuid() == 0 else None
        self._temporary = folder is None or self.user is not None
        self.folder = (
            Path(tempfile.mkdtemp(prefix="backburner-")) if self._temporary or not folder else folder
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.user:
            shutil.chown(self.folder, self.user, self.user)
        self.log = self.folder / "log"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @abstractmethod
    def prepare(self) -> None:
        """Write what the server reads when it starts on `self.port`; called before each start."""

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether our own process, and no stranger on this port, answers."""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process, f"{self.need.name} was not started: call start() first"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start it and wait until it answers; nothing when it runs."""
        while not self.running:
            self._dismiss_guard()
            port, self.port = self.port, self.port or free_port()
            self.prepare()
            with self.log.open("ab") as log:
                self._log_start = log.tell()
                self._process = subprocess.Popen(
                    self.command(),
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    user=self.user,
                    group=self.user,
                    extra_groups=[] if self.user else None,
                    start_new_session=True,  # an interrupt at the terminal is for the tests, which stop it
                )
            self._guard = subprocess.Popen(
                ["sh", "-c", 'read -r stopped || kill -9 "$0"', str(self.pid)],
                stdin=subprocess.PIPE,
                start_new_session=True,
            )
            try:
                wait_until(lambda: not self.running or self.is_ready(), f"{self.need.name} answers")
            except NotReady as error:
                self.kill()
                raise NotReady(f"{error}\n{self.said()}") from None
            if not self.running:
                if port or not any(map(self.has_said, TAKEN)):
                    raise NotReady(
                        f"{self.need.name} ended with code {self.process.returncode}\n{self.said()}"
                    )
                self.port = 0
        return self

    def stop(self) -> None:
        """End it in good order; nothing when it does not run."""
        if not self.running:
            return
        family = self.family()
        self.thaw()
        for _ in range(int(PATIENCE)):
            self.process.send_signal(self.stop_signal)
            try:
                self.process.wait(1.0)
            except subprocess.TimeoutExpired:
                continue  # a Redis that writes its first file does not heed it, and has to be told again
            wait_gone(family)
            return
        self.kill()
        raise NotReady(f"{self.need.name} did not stop within {PATIENCE:g} s\n{self.said()}")

    def kill(self) -> None:
        """SIGKILL for it and all its children, as when the machine dies; returns when they are gone."""
        if not self.running:
            return
        self.freeze()
        family = self.family()
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self.process.wait()
        wait_gone(family)

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers, as with a machine that hangs."""
        stopped: set[psutil.Process] = set()
        while left := set(self.family()) - stopped:
            for each in left:
                with suppress(psutil.NoSuchProcess):
                    each.suspend()
            wait_still(left)
            stopped |= left

    def thaw(self) -> None:
        for each in reversed(self.family()):
            with suppress(psutil.NoSuchProcess):
                each.resume()

    def family(self) -> list[psutil.Process]:
        """The server's process, which comes first, and its children."""
        if not self.running:
            return []
        own = psutil.Process(self.pid)
        return [own, *own.children(recursive=True)]

    def processes(self) -> list[psutil.Process]:
        """All that runs because of it: its family and its guard."""
        return [*self.family(), *([psutil.Process(self._guard.pid)] if self._guard else [])]

    def _dismiss_guard(self) -> None:
        if self._guard:
            self._guard.communicate(b"\n")
            self._guard = None

    def close(self) -> None:
        """Stop it, and remove its temporary folder."""
        try:
            self.stop()
        finally:
            self._dismiss_guard()
            if self._temporary:
                shutil.rmtree(self.folder)

    def said(self) -> str:
        """The end of its log, not before its last start."""
        return "\n".join(self._said().splitlines()[-100:])

    def has_said(self, words: str) -> bool:
        """Whether its log has these words anywhere since its last start."""
        return words in self._said()

    def _said(self) -> str:
        return self.log.read_bytes()[self._log_start :].decode(errors="replace")

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()


class Group(ABC):
    """Servers that make one service together, and are started, stopped and removed together."""

    members: Sequence[Server]

    @abstractmethod
    def is_ready(self) -> bool: ...

    def start(self) -> Self:
        for member in self.members:
            member.start()
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        try:
            wait_until(self.is_ready, f"{type(self).__name__} is ready")
        except NotReady as error:
            logs = "\n".join(f"{member.port}:\n{member.said()}" for member in self.members)
            raise NotReady(f"{error}\n{logs}") from None

    def stop(self) -> None:
        for member in reversed(self.members):
            member.stop()

    def thaw(self) -> None:
        for member in self.members:
            member.thaw()

    def processes(self) -> list[psutil.Process]:
        return [process for member in self.members for process in member.processes()]

    def close(self) -> None:
        with ExitStack() as all_of_them:
            for member in self.members:
                all_of_them.callback(member.close)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()


def program(need: Need) -> Path:
    found = find(need.programs[0])
    if found is None:
        raise Missing(need.advice())
    return found


def free_port() -> int:
    while True:
        port = random.choice(PORTS)
        with socket.socket() as attempt, suppress(OSError):
            attempt.bind(("127.0.0.1", port))
            return port


def wait_until(true: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Look until it is so; `NotReady` after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            raise NotReady(f"not within {patience:g} s: {what}")
        time.sleep(0.01)  # between two looks at another process, which sends no signal


def wait_still(family: Iterable[psutil.Process]) -> None:
    wait_until(lambda: all(is_still(each) for each in family), "all processes of the server stand still")


def wait_gone(family: Iterable[psutil.Process]) -> None:
    wait_until(lambda: all(is_gone(each) for each in family), "all processes of the server are gone")


def is_gone(process: psutil.Process) -> bool:
    try:
        # Where nobody collects orphans a zombie stays for ever; it holds no file and no memory.
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_still(process: psutil.Process) -> bool:
    """Whether a process that was told to stop runs no more of its program.

    One that waits in the kernel stops before it goes on. It may wait for ever: who starts a child waits
    (vfork) until that child runs its program, and the child may have been stopped before.
    """
    still = {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DISK_SLEEP}
    try:
        return process.status() in still
    except psutil.NoSuchProcess:
        return True
