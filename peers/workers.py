"""The workers of one library, kept running, and killed.

Each is started in a session of its own. When it ends, what it leaves behind there is ended, too, before the
next one is started: so a service manager does it.
"""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from typing import IO

import psutil

from peers.environments import ROOT

WORKERS = 2


class Workers:
    """Processes that are started again when they end, as a service manager does it."""

    def __init__(self, command: list[str], environment: dict[str, str], log: IO[bytes]) -> None:
        self._command, self._environment, self._log = command, environment, log
        self._running: list[psutil.Popen] = []

    def keep(self) -> None:
        """Start what is missing."""
        for parent in [each for each in self._running if each.poll() is not None]:
            self._running.remove(parent)
            end_session(parent.pid)
        while len(self._running) < WORKERS:
            self._running.append(
                psutil.Popen(
                    self._command,
                    cwd=ROOT,
                    env=self._environment,
                    stdout=self._log,
                    stderr=self._log,
                    start_new_session=True,
                )
            )

    def family(self) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        for parent in self._running:
            with suppress(psutil.NoSuchProcess):
                found += [parent, *parent.children(recursive=True)]
        return found

    def kill_one(self, chance: random.Random) -> None:
        with suppress(psutil.NoSuchProcess, IndexError):
            chance.choice(self.family()).kill()

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        for parent in self._running:
            with suppress(psutil.NoSuchProcess):
                parent.send_signal(number)
        psutil.wait_procs(self._running, timeout=40.0)
        for parent in self._running:
            end_session(parent.pid)


def end_session(leader: int) -> None:
    """Kill what is left of the session of this process."""
    left = [each for each in psutil.process_iter() if _session(each.pid) == leader]
    for each in left:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(left, timeout=10.0)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0
