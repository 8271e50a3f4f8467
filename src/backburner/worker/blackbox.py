"""The black box: which jobs a worker process had really started, readable after it was killed.

A crash is held against a job only if the job ran. The broker cannot know: it sees what was claimed, and a
batch may wait in the process when a neighbour kills it. So the process writes the id of each job that it
starts into memory shared with its supervisor, and clears it when the job ends: half a microsecond a job.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Collection
from contextlib import suppress

WIDTH = 36
"""Bytes of a job id, which is a UUID as text; those of strangers may have other lengths."""
_EMPTY = bytes(WIDTH)


def _mark(job_id: str) -> bytes:
    """What stands in a slot for a job."""
    written = job_id.encode()
    if len(written) > WIDTH:
        written = hashlib.sha256(written).hexdigest()[:WIDTH].encode()
    return written.ljust(WIDTH, b"\0")


class Started:
    """Asked by a job's id whether it had started."""

    def __init__(self, marks: Collection[bytes]) -> None:
        self._marks = marks

    def __contains__(self, job_id: object) -> bool:
        return isinstance(job_id, str) and _mark(job_id) in self._marks


class BlackBox:
    """`slots` ids in the shared memory behind `descriptor`."""

    def __init__(self, descriptor: int, slots: int) -> None:
        self._memory = mmap.mmap(descriptor, slots * WIDTH)
        self._free = [slice(at, at + WIDTH) for at in range(0, slots * WIDTH, WIDTH)]

    @classmethod
    def make(cls, slots: int) -> tuple[BlackBox, int]:
        """A new one, and the descriptor to hand to the process. The caller closes the descriptor."""
        descriptor = _nameless_file()
        os.truncate(descriptor, slots * WIDTH)
        return cls(descriptor, slots), descriptor

    def start(self, job_id: str) -> slice:
        """Note that a job starts; the slot to give back when it has ended."""
        slot = self.reserve()
        self.note(slot, job_id)
        return slot

    def end(self, slot: slice) -> None:
        self.clear(slot)
        self._free.append(slot)

    def reserve(self) -> slice:
        """A slot for a job that starts later, in a thread, where an interruption may strike at any moment."""
        return self._free.pop()

    def note(self, slot: slice, job_id: str) -> None:
        self._memory[slot] = _mark(job_id)

    def clear(self, slot: slice) -> None:
        self._memory[slot] = _EMPTY

    def started(self) -> Started:
        """The jobs that were running when the process last wrote."""
        data = self._memory[:]
        marks = (data[at : at + WIDTH] for at in range(0, len(data), WIDTH))
        return Started({mark for mark in marks if mark != _EMPTY})

    def close(self) -> None:
        self._memory.close()


def _nameless_file() -> int:
    with suppress(AttributeError, OSError):  # Linux has it, where its C library does and nobody forbids it
        return os.memfd_create("backburner")
    import tempfile  # half a megabyte, with all that compresses files

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
