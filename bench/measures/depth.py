"""Whether a long queue costs more: as many jobs run with none, with very many others waiting behind, and with
very many that are due in an hour; at the library's best. Only of libraries that can enqueue those in bulk.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.figures import Description, Sample, Sizes, Step
from bench.measures.drain import LIMIT
from bench.subject import Subject

SHALLOW = "none behind"
LATER = ("later", "async-later")
STEP = 100_000


def behind(count: int) -> str:
    return f"{count:,} behind"


def shallow(subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    yield from _measure(SHALLOW, subject, sizes.drain, 0)


def deep(subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    yield from _measure(behind(sizes.deep), subject, sizes.drain, sizes.deep)


def scheduled(subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    how = subject.about.first(*LATER)
    assert how is not None
    seconds = sum(count / subject.enqueue(how, count) for count in pieces(sizes.deep))
    yield Sample("enqueue of what is scheduled", sizes.deep / seconds, "jobs/s")
    yield from _measure(f"{sizes.deep:,} scheduled", subject, sizes.drain, 0)


def _measure(figure: str, subject: Subject, jobs: int, behind: int) -> Iterator[Sample]:
    for count in pieces(jobs + behind):
        subject.fill(count)
    with subject.worker() as running:
        yield Sample(figure, subject.wait(running, count=jobs, limit=LIMIT).rate, "jobs/s")


def pieces(jobs: int) -> Iterator[int]:
    for first in range(0, jobs, STEP):
        yield min(STEP, jobs - first)


def offered(about: Description) -> bool:
    return about.first("bulk", "async-bulk") is not None


def schedules(about: Description) -> bool:
    return about.first(*LATER) is not None


STEPS = (Step(shallow, offered), Step(deep, offered), Step(scheduled, schedules))
