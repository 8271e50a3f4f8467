"""A storage that fails now and then, as real ones do. The demo turns it on with AVATARS_FAILURE_RATE."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from uuid import UUID

from backburner import current_job

from .storage import Storage


class StorageHiccup(OSError):
    """The storage failed for a moment; the same write may succeed later."""


class FlakyStorage(Storage):
    """One write in `1 / rate` fails, counted and not drawn by lot, so that every run shows it.

    A third attempt is spared: the demo shows jobs that recover.
    """

    def __init__(self, folder: Path, rate: float) -> None:
        super().__init__(folder)
        self._every = round(1 / rate)
        self._writes = count(1)

    def save_thumbnail(self, photo_id: UUID, size: int, jpeg: bytes) -> str:
        if current_job().attempt < 3 and next(self._writes) % self._every == 0:
            raise StorageHiccup(f"the storage did not answer while it wrote {photo_id}-{size}.jpg")
        return super().save_thumbnail(photo_id, size, jpeg)
