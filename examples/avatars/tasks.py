"""The queue and its one task. Start a worker with `backburner worker avatars.tasks:app`.

Settings, all from the environment: AVATARS_DATA (the folder for everything), BACKBURNER_URL (another broker),
AVATARS_MAX_WAITING (jobs in the queue before an upload is refused), AVATARS_FAILURE_RATE (for the demo).
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from uuid import UUID

from PIL import Image, ImageOps

from backburner import Backburner, Retry

from .hiccups import FlakyStorage
from .storage import Storage

SIZES = (64, 128, 512)
FORMATS = ("JPEG", "PNG", "WEBP")
Image.MAX_IMAGE_PIXELS = 50_000_000  # Pillow warns above, and refuses above twice as many

DATA = Path(os.environ.get("AVATARS_DATA", "avatars-data")).resolve()
failure_rate = float(os.environ.get("AVATARS_FAILURE_RATE", "0"))
storage = FlakyStorage(DATA, failure_rate) if failure_rate else Storage(DATA)

app = Backburner(os.environ.get("BACKBURNER_URL") or f"sqlite:///{DATA / 'jobs.db'}")
app.queue("images", max_length=int(os.environ.get("AVATARS_MAX_WAITING", "1000")), on_full="raise")


class NotAPhoto(ValueError):
    """The upload is no photograph that we can read, and never will be: a retry cannot help."""


@app.task(queue="images", retry=Retry(max_attempts=5, first=0.2, never=(NotAPhoto,)), timeout=60)
def make_thumbnails(photo_id: UUID) -> list[str]:
    """Write the thumbnails of an upload and return their file names, smallest first."""
    photo = open_square(storage.read_upload(photo_id))
    return [storage.save_thumbnail(photo_id, size, to_jpeg(photo, size)) for size in SIZES]


def open_square(data: bytes) -> Image.Image:
    """Decode the middle of a photograph, upright, in RGB and as large as the largest thumbnail."""
    largest = (max(SIZES), max(SIZES))
    try:
        photo: Image.Image = Image.open(BytesIO(data), formats=FORMATS)
        # A JPEG is decoded at the smallest fraction of its size that is large enough, not as a whole.
        photo.draft("RGB", largest)
        photo = ImageOps.exif_transpose(photo)
        if photo.has_transparency_data:
            photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo.convert("RGBA"))
        return ImageOps.fit(photo.convert("RGB"), largest, Image.Resampling.LANCZOS)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # The bytes are in memory: whatever Pillow says is about them, and not about the storage.
        raise NotAPhoto("the upload is no JPEG, PNG or WebP image that can be read") from error


def to_jpeg(photo: Image.Image, size: int) -> bytes:
    """Scale to `size` x `size` pixels. The EXIF data stay behind: they may say where the photo was taken."""
    file = BytesIO()
    photo.resize((size, size), Image.Resampling.LANCZOS).save(file, "JPEG", quality=85, optimize=True)
    return file.getvalue()
