"""How many no-op jobs a worker runs a second, coroutines and functions, beside the bare loop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench import bare, database
from bench.figures import Sample, Sizes
from bench.worker import worker

VARIANTS = (("coroutine", 10), ("coroutine", 100), ("function", 10), ("function", 100))


def measure(sizes: Sizes, folder: Path) -> Iterator[Sample]:
    for batch, (task, concurrency) in zip(bare.BATCHES, VARIANTS, strict=True):
        jobs = min(sizes.drain, 1000 * batch)
        yield Sample(bare_name(batch), bare.drain(folder / "bare.db", jobs, batch), "jobs/s")
        (folder / "bare.db").unlink()
        path = folder / "drain.db"
        database.fill(path, task, sizes.drain)
        rate, wall = drained(path, sizes.drain, concurrency)
        path.unlink()
        yield Sample(name(task, concurrency), rate, "jobs/s")
        yield Sample(f"{name(task, concurrency)}, from worker ready", wall, "jobs/s")


def name(task: str, concurrency: int) -> str:
    return f"drain, {task}s, concurrency {concurrency}"


def bare_name(batch: int) -> str:
    return f"bare loop, batch {batch}"


def drained(path: Path, jobs: int, concurrency: int) -> tuple[float, float]:
    """Jobs a second from the first one's start to the last one's end, and from the worker's being ready."""
    before = database.finished(path)
    with worker(path, concurrency=concurrency, threads=concurrency) as running:
        database.wait_until_finished(path, before + jobs)
        ready_at = running.ready_at
    span = database.span(path, before, jobs)
    return jobs / (span.last - span.first), jobs / (span.last - ready_at)
