"""From the start of a worker of one process to the first line of a job that waits for it."""

from __future__ import annotations

from collections.abc import Iterator

from bench.figures import Sample, Sizes, Step
from bench.subject import Subject

FIGURE = "to the first job"


def measure(subject: Subject, _: Sizes) -> Iterator[Sample]:
    subject.fill(1)
    with subject.worker(processes=1) as running:
        yield Sample(FIGURE, subject.wait(running).first - running.began, "s")


STEPS = (Step(measure),)
