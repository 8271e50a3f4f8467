"""Jobs that fail once and succeed when they are tried again, as soon as the library can be told to: so many
succeed a second, from the start of the first attempt on, at its best.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.figures import Description, Sample, Sizes, Step
from bench.subject import Subject

KIND = "retried"


def measure(subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    subject.fill(sizes.retried, kind=KIND, job="flaky")
    with subject.worker(KIND) as running:
        # To the end: where retries go to the end of the line none may have succeeded for long.
        yield Sample("failed once", subject.wait(running).rate, "jobs/s")


def offered(about: Description) -> bool:
    return KIND in about.kinds


STEPS = (Step(measure, offered),)
