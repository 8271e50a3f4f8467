"""Jobs that one process enqueues at once, and whose results it waits for, one after the other; a second."""

from __future__ import annotations

from collections.abc import Iterator

from bench.figures import Description, Sample, Sizes, Step
from bench.subject import Subject

FIGURE = "enqueued, run and awaited"


def measure(subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    how = subject.about.first(*WAYS)
    assert how is not None
    with subject.worker(results=True):
        yield Sample(FIGURE, subject.enqueue(how, sizes.awaited), "jobs/s")


def offered(about: Description) -> bool:
    return about.first(*WAYS) is not None


WAYS = ("awaited", "async-awaited")
STEPS = (Step(measure, offered),)
