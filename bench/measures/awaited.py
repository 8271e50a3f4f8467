"""Jobs that one process enqueues at once to a worker that waits, and whose results it then awaits, one after
the other.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.figures import Description, Sample, Sizes, Step
from bench.subject import Subject

FIGURE = "enqueued, run and awaited"


def measure(subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    how = subject.about.first(*WAYS)
    assert how is not None
    with subject.worker(results=True) as running:
        subject.fill(1)
        subject.wait(running)
        yield Sample(FIGURE, subject.enqueue(how, sizes.awaited), "jobs/s")


def offered(about: Description) -> bool:
    return about.first(*WAYS) is not None


WAYS = ("awaited", "async-awaited")
STEPS = (Step(measure, offered),)
