"""What a process holds: memory, descriptors, threads, children."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

import psutil

from bench.processes import pss
from soak.verdict import Series


def measure(whose: str, process: psutil.Process) -> Iterator[tuple[Series, float]]:
    """Nothing of one that is gone."""
    with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        children = process.children(recursive=True)
        values = {
            "memory": pss(process.pid),
            "descriptors": process.num_fds(),
            "threads": process.num_threads(),
            "processes": len(children),
        }
        yield from ((Series(whose, what), float(value)) for what, value in values.items())


def measure_all(named: Mapping[str, psutil.Process]) -> Iterator[tuple[Series, float]]:
    for whose, process in named.items():
        yield from measure(whose, process)
        if whose.startswith("worker"):  # what runs its cpu=True functions
            yield from _children(f"{whose}, cpu", process)


def _children(whose: str, parent: psutil.Process) -> Iterator[tuple[Series, float]]:
    with suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        children = parent.children(recursive=True)
        yield Series(whose, "memory"), sum(pss(child.pid) for child in children)
        yield Series(whose, "descriptors"), float(sum(child.num_fds() for child in children))
