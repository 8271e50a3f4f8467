"""Notices changed source code, for ``--reload`` in development.

1. Note the time of change and the size of every ``*.py`` file (one ``stat`` each, in a thread).
2. Do so again every `interval` seconds, until a file has other values, or is new, or gone.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SKIPPED = {"__pycache__", "node_modules", "site-packages"}


async def changed(folders: Iterable[Path], interval: float = 0.5) -> set[Path]:
    """Wait until a ``*.py`` file below `folders` is changed, added or removed; return those that were.

    Looks every `interval` seconds. Hidden folders, virtual environments and installed packages do not count.
    Raises NotADirectoryError when one of `folders` is not a folder.
    """
    roots = list(folders)
    before = await asyncio.to_thread(_stamps, roots)
    while True:
        await asyncio.sleep(interval)
        after = await asyncio.to_thread(_stamps, roots)
        if different := before.items() ^ after.items():
            return {path for path, _ in different}


def _stamps(roots: list[Path]) -> dict[Path, tuple[int, int]]:
    stamps = {}
    for root in roots:
        if not root.is_dir():
            raise NotADirectoryError(f"{root} is not a folder: name the folders that hold your code")
        for path in _python_files(root):
            with suppress(OSError):  # removed while we look, or a link to nowhere: then it is not there
                stat = path.stat()
                stamps[path] = (stat.st_mtime_ns, stat.st_size)
    return stamps


def _python_files(root: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(root):
        if "pyvenv.cfg" in names:
            below.clear()
            continue
        below[:] = [name for name in below if not name.startswith(".") and name not in _SKIPPED]
        yield from (Path(folder, name) for name in names if name.endswith(".py"))
