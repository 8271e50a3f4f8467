"""From just before a job is enqueued in one process to its first line in another. At idle jobs come at
random, twenty a second, to a worker at its best load. At half load jobs sleep 50 ms, twenty at once in one
process, and come at random at half the rate at which those twenty could take them: of ten the ideal worker,
which loses no time, would still have all ten busy so often that its p99 is 9 ms; of twenty it is 0. The bare
loop's figure is the broker's own wake-up, which carries the job.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import quantiles

from bench.figures import Description, Sample, Sizes, Step
from bench.subject import Running, Subject
from bench.systems.jobs import MOMENT

RATE = 20.0
CONCURRENCY = 20
HALF = CONCURRENCY / MOMENT / 2
IDLE, BUSY = "at idle", "at half load"
WAKE = "wake"
PERCENT = (50, 95, 99)


def name(when: str, percent: int) -> str:
    return f"{when}, p{percent}"


def at_idle(subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    kind = WAKE if WAKE in subject.about.kinds else subject.kind
    with subject.worker(kind) as running:
        yield from _measure(IDLE, subject, running, kind, "pickup", sizes.pickups, RATE)


def at_half_load(subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    with subject.worker(concurrency=CONCURRENCY, processes=1) as running:
        yield from _measure(BUSY, subject, running, subject.kind, "paced", 10 * sizes.pickups, HALF)


def _measure(
    when: str, subject: Subject, running: Running, kind: str, job: str, count: int, rate: float
) -> Iterator[Sample]:
    how = subject.about.first("single", "async")
    assert how is not None
    if kind == WAKE:
        subject.sent += 1  # what it runs by itself once it hears
    else:
        subject.enqueue(how, 1, kind=kind)
    subject.wait(running)
    subject.enqueue(how, count, kind=kind, job=job, rate=rate)
    subject.wait(running)
    # The first one of a producer opens its connection.
    cuts = quantiles([1000 * delay for delay in subject.delays()[1:]], n=100, method="inclusive")
    for percent in PERCENT:
        yield Sample(name(when, percent), cuts[percent - 1], "ms")


def claims(about: Description) -> bool:
    return WAKE not in about.kinds


STEPS = (Step(at_idle), Step(at_half_load, claims))
