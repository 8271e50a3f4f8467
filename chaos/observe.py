"""Observations of the processes of a run, on disk: each process has a file of lines, in a folder for all."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.oracle import Observation, decode, encode

SUFFIX = ".seen"


class Observer:
    """Writes what one process sees. `role` begins the names of its files."""

    def __init__(self, folder: Path, role: str) -> None:
        self._folder, self._role = folder, role
        self._pid, self._file = 0, -1

    def see(self, observation: Observation) -> None:
        """One line in one system call: a kill leaves all of it or nothing."""
        if self._pid != os.getpid():  # a process that was forked off has a file of its own
            self._pid = os.getpid()
            name = f"{self._role}-{self._pid}-{time.time_ns()}{SUFFIX}"
            self._file = os.open(self._folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(self._file, encode(observation))


def read(folder: Path) -> list[Observation]:
    """All that was seen by anybody."""
    return [each for file in folder.glob(f"*{SUFFIX}") for each in decode(file.read_bytes())]


def written(folder: Path, role: str) -> int:
    """How many bytes those of a role have written: it grows while they do something."""
    return sum(file.stat().st_size for file in folder.glob(f"{role}-*{SUFFIX}"))
