"""Jobs that sleep 50 ms, ten, a hundred or a thousand at once in one process, beside the ideal: no time for
the rest. Coroutines have a thousand as well; a library without a way to enqueue in bulk has fewer to run.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench.figures import Description, Sample, Sizes, Step
from bench.measures.drain import count, drained
from bench.subject import Subject
from bench.systems.jobs import MOMENT

FEW, MANY, MOST = 10, 100, 1000


def name(concurrency: int) -> str:
    return f"{concurrency:,} at once"


def measure(concurrency: int, subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    moments = count(subject, sizes.moments) if concurrency > FEW else sizes.moments
    subject.fill(concurrency * moments, job="sleep")
    with subject.worker(concurrency=concurrency, processes=1) as running:
        counted = drained(subject, running)
    yield Sample(name(concurrency), 100 * counted.rate * MOMENT / concurrency, "% of the ideal")


def has_coroutines(about: Description) -> bool:
    """So many threads or processes are nobody's choice on two cores."""
    return about.kinds[0] == "coroutine"


STEPS = (
    Step(partial(measure, FEW)),
    *(Step(partial(measure, concurrency), has_coroutines) for concurrency in (MANY, MOST)),
)
