"""What processes hold and use: memory and processor time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil


def pss(pid: int) -> float:
    """Megabytes of memory, shared pages divided among those who share them."""
    found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def memory(processes: Iterable[psutil.Process]) -> float:
    """Megabytes of them all; nothing of one that ends meanwhile."""
    total = 0.0
    for each in processes:
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            total += pss(each.pid)
    return total


def busy(processes: Iterable[psutil.Process]) -> float:
    """Seconds of processor time so far, with that of children that have ended."""
    total = 0.0
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
