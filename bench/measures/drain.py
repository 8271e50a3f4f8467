"""How many jobs that do nothing a worker runs a second, from the start of the first to the end of the last;
all were enqueued before, and no results are kept that the library does not keep by default. With ten at once
in one process (ten processes where each runs one job), and at the library's best load on two cores. A
library without a way to enqueue in bulk has a fifth of the jobs to run; a drain that has not ended after 10 s
is judged by what it has run. Beside it, at the best: processor time of the worker and of the broker for each
job, and the commands (Redis) or transactions (PostgreSQL) that the broker ran for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from bench.figures import Description, Sample, Sizes, Step
from bench.processes import busy
from bench.subject import Running, Subject
from bench.tally import Counted

LIMIT = 10.0
"""Seconds."""
KINDS = ("coroutine", "function")
BEST = "at its best"


def name(kind: str, load: str) -> str:
    return f"{kind}s, {load}"


def count(subject: Subject, jobs: int) -> int:
    return jobs if subject.about.first("bulk", "async-bulk") else max(jobs // 5, 1)


def drained(subject: Subject, running: Running) -> Counted:
    return subject.wait(running, limit=LIMIT)


def at_ten(kind: str, subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    subject.fill(count(subject, sizes.drain), kind=kind)
    with subject.worker(kind, concurrency=10, processes=1) as running:
        yield Sample(name(kind, "10 at once"), drained(subject, running).rate, "jobs/s")


def at_best(kind: str, subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    place = subject.place
    subject.fill(count(subject, sizes.drain), kind=kind)
    with subject.worker(kind) as running:
        begun = subject.wait(running, count=1)
        workers, broker, commands = busy(running.family()), busy(place.processes()), place.commands()
        counted = drained(subject, running)
        jobs = max(counted.jobs - begun.jobs, 1)
        workers, broker = busy(running.family()) - workers, busy(place.processes()) - broker
        now = place.commands()
    yield Sample(name(kind, BEST), counted.rate, "jobs/s")
    yield Sample(f"{kind}s, processor time of the worker", workers / jobs * 1e6, "µs a job")
    if place.processes():
        yield Sample(f"{kind}s, processor time of the broker", broker / jobs * 1e6, "µs a job")
    if now is not None and commands is not None:
        yield Sample(f"{kind}s, the broker's commands", (now - commands) / jobs, "a job")


def offered(kind: str, about: Description) -> bool:
    return kind in about.kinds


STEPS = tuple(
    Step(partial(take, kind), partial(offered, kind)) for kind in KINDS for take in (at_ten, at_best)
)
