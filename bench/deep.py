"""Whether a long queue costs more: as many jobs run with few and with many others waiting behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench import database, drain
from bench.figures import Sample, Sizes


def measure(sizes: Sizes, folder: Path) -> Iterator[Sample]:
    for figure, depth in ((SHALLOW, sizes.shallow), (DEEP, sizes.deep)):
        path = folder / f"deep-{depth}.db"  # kept for the next round, and topped up
        database.fill(path, "coroutine", depth + sizes.drain)
        rate, _ = drain.drained(path, sizes.drain, concurrency=100)
        yield Sample(figure, rate, "jobs/s")


SHALLOW = "drain, few waiting behind"
DEEP = "drain, many waiting behind"
