"""Jobs counted where they run, by any library: one slot a process in a file that all of them map.

A slot holds how many jobs ran, when the first one began and when the last one did, on `time.time()`.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path
from typing import NamedTuple

SLOT = struct.Struct("Qdd")
SLOTS = 4096


class Counted(NamedTuple):
    """What all processes together have run."""

    jobs: int
    first: float
    last: float


class Tally:
    """The file at `path`, which is made if there is none."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(SLOT.size * SLOTS))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._at = 0
        self._pid = 0
        self._jobs = 0
        self._first = 0.0

    def count(self) -> None:
        """A job runs here, now."""
        now = time.time()
        if self._pid != os.getpid():
            self._pid, self._jobs, self._first = os.getpid(), 0, now
            self._at = self._pid % SLOTS * SLOT.size
        self._jobs += 1
        SLOT.pack_into(self._map, self._at, self._jobs, self._first, now)

    def read(self) -> Counted:
        slots = [slot for slot in SLOT.iter_unpack(self._map[:]) if slot[0]]
        return Counted(
            sum(jobs for jobs, _, _ in slots),
            min((first for _, first, _ in slots), default=0.0),
            max((last for _, _, last in slots), default=0.0),
        )
