"""A worker with one process, at its best load, that has run one job and has nothing to do: memory (PSS) of
all its processes, processor time of them and of the broker, and commands (Redis) or transactions
(PostgreSQL) that the broker runs for it; and its memory after a drain and after more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.figures import Sample, Sizes, Step
from bench.measures.depth import pieces
from bench.measures.drain import count, drained
from bench.processes import busy, memory
from bench.subject import Subject

SETTLE = 1.0
"""Seconds until a worker that has just become idle does nothing any more."""
PSS = "memory"
CPU = "processor time of the worker"
COMMANDS = "the broker's commands"
DRAINED, GROWN = "memory after a drain", "memory after more drains"


def measure(subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    place = subject.place
    with subject.worker(processes=1) as running:
        subject.fill(1)
        subject.wait(running)
        time.sleep(SETTLE)
        yield Sample(PSS, memory(running.family()), "MB")
        workers, broker, commands = busy(running.family()), busy(place.processes()), place.commands()
        began = time.monotonic()
        time.sleep(sizes.idle)
        seconds = time.monotonic() - began
        yield Sample(CPU, 100 * (busy(running.family()) - workers) / seconds, "% of a core")
        if place.processes():
            share = 100 * (busy(place.processes()) - broker) / seconds
            yield Sample("processor time of the broker", share, "% of a core")
        if commands is not None and (now := place.commands()) is not None:
            yield Sample(COMMANDS, (now - commands) / seconds, "a second")
        for figure, jobs in ((DRAINED, sizes.drain), (GROWN, sizes.grow)):
            for piece in pieces(jobs):
                subject.fill(count(subject, piece))
                drained(subject, running)
            time.sleep(SETTLE)
            yield Sample(figure, memory(running.family()), "MB")


STEPS = (Step(measure),)
