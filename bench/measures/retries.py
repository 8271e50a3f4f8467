"""Jobs that fail once and succeed when they are tried again, as soon as the library can be told to: so many
succeed a second, at its best.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.figures import Description, Sample, Sizes, Step
from bench.measures.drain import count, drained
from bench.subject import Subject

KIND = "retried"


def measure(subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    subject.fill(count(subject, sizes.bulk), kind=KIND, job="flaky")
    with subject.worker(KIND) as running:
        yield Sample("failed once", drained(subject, running).rate, "jobs/s")


def offered(about: Description) -> bool:
    return KIND in about.kinds


STEPS = (Step(measure, offered),)
