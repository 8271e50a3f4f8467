"""One benchmark at a time: two on one machine take the processor from each other, and both are wrong."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

import click

LOCK = "backburner-bench.lock"
"""In the system's folder for temporary files; it has the number of the process."""


@contextmanager
def alone() -> Iterator[None]:
    """Raises `click.ClickException` while another benchmark is running here."""
    with (Path(gettempdir()) / LOCK).open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise click.ClickException(
                f"process {file.read()} is a benchmark, too, and each would measure the other: wait until "
                "it has ended, or end it"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
