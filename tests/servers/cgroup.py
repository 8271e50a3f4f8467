"""A limit of memory for processes, which the kernel enforces: it kills the one that takes most."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path("/sys/fs/cgroup")


@contextmanager
def memory_limit(name: str, size: int, pid: int) -> Iterator[None]:
    """For that process, and for those that it starts from now on; `size` in bytes."""
    old = (ROOT / "memory").is_dir()
    group = (ROOT / "memory" if old else ROOT) / f"backburner-{name}-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(size))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the memory of a process cannot be limited here: {error}")
    try:
        yield
    finally:
        for each in (group / "cgroup.procs").read_text().split():
            (group.parent / "cgroup.procs").write_text(each)
        group.rmdir()
