"""The workers of one library, kept running, and killed."""

from __future__ import annotations

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
        self._running = [each for each in self._running if each.poll() is None]
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
        family = self.family()
        for parent in self._running:
            with suppress(psutil.NoSuchProcess):
                parent.send_signal(number)
        for each in psutil.wait_procs(family, timeout=0.0 if number == signal.SIGKILL else 40.0)[1]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(family, timeout=10.0)
