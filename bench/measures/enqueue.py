"""How many jobs one process stores a second, each safe when the call returns: one after the other in a plain
function or a coroutine, from 50 threads or 50 coroutines at once, and in bulk as the library does it best.
The first job, which opens connections, is not timed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench.figures import Description, Sample, Sizes, Step
from bench.subject import Subject

FIGURES = {
    "single": "one by one",
    "async": "one by one, async",
    "threads": "from 50 threads",
    "together": "50 coroutines at once",
    "bulk": "in bulk",
    "async-bulk": "in bulk, async",
}
BULK = FIGURES["bulk"]


def measure(way: str, subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    rate = subject.enqueue(way, sizes.bulk if "bulk" in way else sizes.enqueue)
    yield Sample(FIGURES[way], rate, "jobs/s")


def offered(way: str, about: Description) -> bool:
    return way in about.ways


STEPS = tuple(Step(partial(measure, way), partial(offered, way)) for way in FIGURES)
