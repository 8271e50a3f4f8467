"""What a job does here, whichever library runs it: it takes a moment, and leaves its number in a file.

Only the standard library: this is imported in every peer's own environment.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

FOLDER = Path(os.environ.get("PEERS_FOLDER", "."))
URL = os.environ.get("PEERS_URL", "")
MOMENT = 0.02


def work(number: int) -> None:
    """A job: half of its moment before its effect, half of it after."""
    time.sleep(MOMENT / 2)
    write("effects", number)
    time.sleep(MOMENT / 2)


def write(file: str, number: int) -> None:
    """One line, in one system call, so that no kill leaves half of it."""
    descriptor = os.open(FOLDER / file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{number}\n".encode())
    finally:
        os.close(descriptor)


def read(folder: Path, file: str) -> list[int]:
    path = folder / file
    return [int(line) for line in path.read_text().split()] if path.exists() else []
