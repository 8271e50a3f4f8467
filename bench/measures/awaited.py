"""Jobs that one process enqueues at once to a worker that waits, and whose results it then awaits, one after
the other. A library that takes more than a second for the first 200 is judged by those.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.figures import Description, Sample, Sizes, Step
from bench.subject import Subject

FIRST = 200
FIGURE = "enqueued, run and awaited"


def measure(subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    how = subject.about.first(*WAYS)
    assert how is not None
    with subject.worker(results=True) as running:
        subject.fill(1)
        subject.wait(running)
        rate = subject.enqueue(how, min(FIRST, sizes.awaited))
        if rate > FIRST:
            rate = subject.enqueue(how, sizes.awaited)
        yield Sample(FIGURE, rate, "jobs/s")


def offered(about: Description) -> bool:
    return about.first(*WAYS) is not None


WAYS = ("awaited", "async-awaited")
STEPS = (Step(measure, offered),)
