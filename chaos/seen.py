"""What the processes of a run write down as it happens: observations of `tests/oracle.py`, as lines of JSON.

Each process has a file of its own. A line is one system call, so that a kill leaves all of it or nothing; the
time beside it is this machine's monotonic clock, which all of its processes share.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.oracle import Observation

_encode = msgspec.json.Encoder().encode


class Line(msgspec.Struct):
    """One observation, and when it was made, on `time.monotonic()`."""

    at: float
    seen: Observation


_decode = msgspec.json.Decoder(Line).decode


class Notebook:
    """One process's file in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owner = 0
        self._file = -1

    def write(self, *observations: Observation) -> None:
        if self._owner != os.getpid():  # a fork has a file of its own
            self._owner = os.getpid()
            path = self._folder / f"seen-{self._owner}-{time.monotonic_ns()}.jsonl"
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        now = time.monotonic()
        os.write(self._file, b"".join(_encode(Line(now, each)) + b"\n" for each in observations))


def read(folder: Path) -> Iterator[Line]:
    """All of them, in the order of their times."""
    lines = [_decode(line) for path in folder.glob("seen-*.jsonl") for line in path.read_bytes().splitlines()]
    return iter(sorted(lines, key=lambda line: line.at))
