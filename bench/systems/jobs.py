"""What a job does here, whichever library runs it: something, and then it counts itself (`bench/tally.py`).

Only the standard library: this is imported in every library's own environment.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
from functools import cache
from pathlib import Path

from bench.tally import Tally

FOLDER = Path(os.environ.get("BENCH_FOLDER", "."))
MOMENT = 0.05
"""Seconds for which a job sleeps that waits for something."""
ROUNDS = 100_000
"""Of a job that computes: some milliseconds."""
DELAYS = "pickups"
DELAY = struct.Struct("d")


class Flaky(Exception):
    """What a job raises that fails once."""


@cache
def tally() -> Tally:
    return Tally(FOLDER / "tally")


def run(job: str, value: float) -> float:
    """A job that is a function. For `pickup` and `paced` the value is when it was enqueued."""
    began = time.time()
    if job in ("sleep", "paced"):
        _note(job, began - value)
        time.sleep(MOMENT)
    else:
        _at_once(job, value, began)
    tally().count(began, time.time())
    return value


async def arun(job: str, value: float) -> float:
    """The same as a coroutine."""
    began = time.time()
    if job in ("sleep", "paced"):
        _note(job, began - value)
        await asyncio.sleep(MOMENT)
    else:
        _at_once(job, value, began)
    tally().count(began, time.time())
    return value


def compute() -> int:
    """What a job does that keeps a core busy."""
    return sum(number * number for number in range(ROUNDS))


def _at_once(job: str, value: float, began: float) -> None:
    _note(job, began - value)
    if job == "compute":
        compute()
    elif job == "flaky":
        tally().begin(began)
        _fail_once(int(value))


def _fail_once(number: int) -> None:
    """Unless it has failed before, wherever that was: then there is a file."""
    try:
        os.close(os.open(FOLDER / f"failed-{number}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    raise Flaky(number)


def _note(job: str, delay: float) -> None:
    """One number in one system call, so that those of several processes do not mix."""
    if job in ("pickup", "paced"):
        descriptor = os.open(FOLDER / DELAYS, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, DELAY.pack(delay))
        os.close(descriptor)


def delays(folder: Path) -> list[float]:
    """Seconds from each enqueue to the start of the job."""
    file = folder / DELAYS
    return [delay for (delay,) in DELAY.iter_unpack(file.read_bytes())] if file.exists() else []
