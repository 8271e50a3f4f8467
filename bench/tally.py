"""Jobs counted where they run, by any library: one slot a thread in a file that all processes map.

A slot holds how many jobs ran, when the first one began and when the last one did, on `time.time()`.
"""

from __future__ import annotations

import mmap
import struct
import threading
import time
from pathlib import Path
from typing import NamedTuple

SLOT = struct.Struct("Qdd")
SLOTS = 1 << 16


class Counted(NamedTuple):
    """What all threads together have run."""

    jobs: int
    first: float
    last: float


class Own(threading.local):
    """One thread's slot: no two threads write to one."""

    def __init__(self) -> None:
        self.at = threading.get_native_id() % SLOTS * SLOT.size
        self.jobs = 0
        self.first = time.time()


class Tally:
    """The file at `path`, which is made if there is none."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(SLOT.size * SLOTS))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._own = Own()

    def count(self) -> None:
        """A job runs here, now."""
        own = self._own
        now = time.time()
        if not own.jobs:
            own.first = now
        own.jobs += 1
        SLOT.pack_into(self._map, own.at, own.jobs, own.first, now)

    def read(self) -> Counted:
        """Of everybody."""
        slots = [slot for slot in SLOT.iter_unpack(self._map[:]) if slot[0]]
        return Counted(
            sum(jobs for jobs, _, _ in slots),
            min((first for _, first, _ in slots), default=0.0),
            max((last for _, _, last in slots), default=0.0),
        )
