"""What a worker costs that has nothing to do: memory, before and after it has worked, and processor time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from bench import database
from bench.figures import Sample, Sizes
from bench.worker import worker

SETTLE = 0.5
"""Seconds until a worker that has just become idle does nothing any more."""
PSS = "memory, idle, both"
CPU = "processor, idle, both"


def measure(sizes: Sizes, folder: Path) -> Iterator[Sample]:
    path = folder / "idle.db"
    with worker(path) as running:
        processes = {"supervisor": running.supervisor, "worker": running.process}
        time.sleep(SETTLE)
        yield from _memory("idle", processes)
        before = {name: _busy(process) for name, process in processes.items()}
        began = time.monotonic()
        time.sleep(sizes.idle)
        seconds = time.monotonic() - began
        shares = {
            name: 100 * (_busy(process) - before[name]) / seconds for name, process in processes.items()
        }
        yield Sample(CPU, sum(shares.values()), "% of a core")
        for name, share in shares.items():
            yield Sample(f"processor, idle, {name}", share, "% of a core")
        database.fill(path, "coroutine", sizes.drain)
        database.wait_until_finished(path, sizes.drain)
        time.sleep(SETTLE)
        yield from _memory("after a drain", processes)
    path.unlink()


def _memory(when: str, processes: dict[str, psutil.Process]) -> Iterator[Sample]:
    sizes = {name: pss(process.pid) for name, process in processes.items()}
    yield Sample(f"memory, {when}, both", sum(sizes.values()), "MB")
    for name, size in sizes.items():
        yield Sample(f"memory, {when}, {name}", size, "MB")


def pss(pid: int) -> float:
    """Megabytes of memory, shared pages divided among those who share them."""
    found = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def _busy(process: psutil.Process) -> float:
    """Seconds of processor time so far, in steps of the kernel's clock tick."""
    times = process.cpu_times()
    busy: float = times.user + times.system
    return busy
