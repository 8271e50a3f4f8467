"""Jobs that do nothing, in one, two and four processes of the load that the library is at its best with."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench.figures import Sample, Sizes, Step
from bench.measures.drain import count, drained
from bench.subject import Subject


def measure(processes: int, subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    subject.fill(count(subject, sizes.drain))
    with subject.worker(processes=processes) as running:
        yield Sample(FIGURES[processes], drained(subject, running).rate, "jobs/s")


FIGURES = {1: "1 process", 2: "2 processes", 4: "4 processes"}
STEPS = tuple(Step(partial(measure, processes)) for processes in FIGURES)
