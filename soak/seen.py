"""What the load has seen: it writes this to a file, and the run reads it."""

from __future__ import annotations

from pathlib import Path

import msgspec

FILE = "load"
PATIENCE = 30.0
"""Seconds that the load waits for a result."""


class Seen(msgspec.Struct):
    """One second of the load; times in seconds."""

    sent: int = 0
    revived: int = 0
    failed: int = 0
    """Enqueues and results that ended in an error of the broker, or came too late."""
    errors: list[str] = []
    pick_ups: list[float] = []
    ends: list[float] = []


class Reader:
    """Reads that file on from where it was last."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._read = 0

    def read(self) -> Seen:
        """All that is new, as one."""
        total = Seen()
        if not self._file.exists():
            return total
        with self._file.open("rb") as lines:
            lines.seek(self._read)
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                each = msgspec.json.decode(line, type=Seen)
                total.sent += each.sent
                total.revived += each.revived
                total.failed += each.failed
                total.errors += each.errors
                total.pick_ups += each.pick_ups
                total.ends += each.ends
        return total
