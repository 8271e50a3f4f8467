"""Jobs counted where they run, by any library: one slot a thread in a file that all processes map.

A slot holds how many jobs ran, when the first one began and when the last one ended, on `time.time()`. A
process that was forked, as for each job by RQ, has slots of its own.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from pathlib import Path
from typing import NamedTuple

SLOT = struct.Struct("Qdd")
SLOTS = 1 << 16


class Counted(NamedTuple):
    """What all threads together have run."""

    jobs: int
    first: float
    last: float

    @property
    def rate(self) -> float:
        """Jobs a second, from the start of the first to the end of the last."""
        return self.jobs / (self.last - self.first)


class Slot(threading.local):
    """One thread's: no two threads write to one. What an ended one of the same number has left counts on."""

    at = -1
    jobs = 0
    first = 0.0
    last = 0.0


class Tally:
    """The file at `path`, which is made if there is none."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(SLOT.size * SLOTS))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._own = Slot()
        os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self._own = Slot()

    def begin(self, began: float) -> None:
        """A job began here, which may fail: it counts when it ends."""
        own = self._slot(began)
        SLOT.pack_into(self._map, own.at, own.jobs, own.first, own.last)

    def count(self, began: float, ended: float) -> None:
        """A job ran here."""
        own = self._slot(began)
        own.jobs += 1
        own.last = ended
        SLOT.pack_into(self._map, own.at, own.jobs, own.first, ended)

    def _slot(self, began: float) -> Slot:
        own = self._own
        if own.at < 0:
            own.at = threading.get_native_id() % SLOTS * SLOT.size
            own.jobs, own.first, own.last = SLOT.unpack_from(self._map, own.at)
            own.first = own.first or began
        return own

    def read(self) -> Counted:
        """Of everybody."""
        slots = [slot for slot in SLOT.iter_unpack(self._map[:]) if slot[1]]
        return Counted(
            sum(jobs for jobs, _, _ in slots),
            min((first for _, first, _ in slots), default=0.0),
            max((last for _, _, last in slots), default=0.0),
        )
