"""How many jobs one process stores a second, singly and in bulk, each safe on disk; beside bare inserts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from backburner.producer import CHUNK
from bench import bare
from bench.database import app_on
from bench.figures import Sample, Sizes

TOGETHER = 100
BULK = "enqueue, bulk"


def measure(sizes: Sizes, folder: Path) -> Iterator[Sample]:
    bare_path, path, singles, bulk = folder / "bare.db", folder / "enqueue.db", sizes.enqueue, sizes.bulk
    rate = bare.insert(bare_path, singles, 1)
    yield Sample("bare insert, single", rate, "jobs/s")
    yield Sample("enqueue, single", _singly(path, singles), "jobs/s")
    rate = bare.insert(bare_path, bulk, CHUNK)
    yield Sample(f"bare insert, {CHUNK:,} a transaction", rate, "jobs/s")
    yield Sample(BULK, _in_bulk(path, bulk), "jobs/s")
    yield Sample("aenqueue, one after the other", asyncio.run(_awaited(path, singles, 1)), "jobs/s")
    yield Sample(f"aenqueue, {TOGETHER} at once", asyncio.run(_awaited(path, singles, TOGETHER)), "jobs/s")
    bare_path.unlink()
    path.unlink()


def _singly(path: Path, jobs: int) -> float:
    task = (app := app_on(path)).named("bench.tasks.coroutine")
    task.enqueue(0)  # opens the file
    began = time.perf_counter()
    for number in range(jobs):
        task.enqueue(number)
    rate = jobs / (time.perf_counter() - began)
    app.close()
    return rate


def _in_bulk(path: Path, jobs: int) -> float:
    task = (app := app_on(path)).named("bench.tasks.coroutine")
    task.enqueue(0)
    began = time.perf_counter()
    task.enqueue_many((number,) for number in range(jobs))
    rate = jobs / (time.perf_counter() - began)
    app.close()
    return rate


async def _awaited(path: Path, jobs: int, together: int) -> float:
    task = (app := app_on(path)).named("bench.tasks.coroutine")
    await task.aenqueue(0)
    numbers = iter(range(jobs))

    async def enqueue() -> None:
        for number in numbers:
            await task.aenqueue(number)

    began = time.perf_counter()
    await asyncio.gather(*(enqueue() for _ in range(together)))
    rate = jobs / (time.perf_counter() - began)
    app.close()
    return rate
