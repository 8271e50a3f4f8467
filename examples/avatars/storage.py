"""Where uploads and thumbnails are kept: two folders of files.

File names are made from ids of ours, never from what a browser sent. A file appears under its name only
when it is complete and on the disk, so that a worker or a browser never sees half of one.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO
from uuid import UUID


class Storage:
    """Photographs in `folder`; makes the folder when it is missing. Every method may raise `OSError`."""

    def __init__(self, folder: Path) -> None:
        self.uploads = folder / "uploads"
        self.thumbnails = folder / "thumbnails"
        for place in (self.uploads, self.thumbnails):
            place.mkdir(parents=True, exist_ok=True)

    def save_upload(self, photo_id: UUID, source: IO[bytes]) -> None:
        with NamedTemporaryFile(dir=self.uploads, delete=False) as file:
            shutil.copyfileobj(source, file)
            _publish(file, self.uploads / str(photo_id))

    def read_upload(self, photo_id: UUID) -> bytes:
        return (self.uploads / str(photo_id)).read_bytes()

    def delete_upload(self, photo_id: UUID) -> None:
        (self.uploads / str(photo_id)).unlink(missing_ok=True)

    def save_thumbnail(self, photo_id: UUID, size: int, jpeg: bytes) -> str:
        """Keep a thumbnail and return its file name. Saving again replaces it: a job may run twice."""
        name = f"{photo_id}-{size}.jpg"
        with NamedTemporaryFile(dir=self.thumbnails, delete=False) as file:
            file.write(jpeg)
            _publish(file, self.thumbnails / name)
        return name


def _publish(file: IO[bytes], path: Path) -> None:
    # Without the sync a power cut may leave the name on an empty file, while the job survives in the queue.
    file.flush()
    os.fsync(file.fileno())
    Path(file.name).replace(path)
