"""Jobs that sleep 50 ms, ten or a hundred at once in one process, beside the ideal: no time for the rest."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench.figures import Description, Sample, Sizes, Step
from bench.measures.drain import drained
from bench.subject import Subject
from bench.systems.jobs import MOMENT


def measure(concurrency: int, subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    subject.fill(concurrency * sizes.moments, job="sleep")
    with subject.worker(concurrency=concurrency, processes=1) as running:
        counted = drained(subject, running)
    yield Sample(f"{concurrency} at once", 100 * counted.rate * MOMENT / concurrency, "% of the ideal")


def has_coroutines(about: Description) -> bool:
    """A hundred threads or processes are nobody's choice on two cores."""
    return about.kinds[0] == "coroutine"


STEPS = (Step(partial(measure, 10)), Step(partial(measure, 100), has_coroutines))
