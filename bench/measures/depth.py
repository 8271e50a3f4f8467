"""Whether a long queue costs more: as many jobs run with none and with very many others waiting behind, at
the library's best. Only of libraries that enqueue in bulk.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.figures import Description, Sample, Sizes, Step
from bench.measures.drain import LIMIT
from bench.subject import Subject

SHALLOW, DEEP = "none behind", "many behind"
STEP = 100_000


def shallow(subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    yield from _measure(SHALLOW, subject, sizes.drain, 0)


def deep(subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    yield from _measure(DEEP, subject, sizes.drain, sizes.deep)


def _measure(figure: str, subject: Subject, jobs: int, behind: int) -> Iterator[Sample]:
    waiting = jobs + behind
    for first in range(0, waiting, STEP):
        subject.fill(min(STEP, waiting - first))
    with subject.worker() as running:
        yield Sample(figure, subject.wait(running, count=jobs, limit=LIMIT).rate, "jobs/s")


def offered(about: Description) -> bool:
    return about.first("bulk", "async-bulk") is not None


STEPS = (Step(shallow, offered), Step(deep, offered))
