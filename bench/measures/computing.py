"""Jobs that keep a core busy for some milliseconds, in as many processes as there are cores, beside the
ideal: the same function in a loop in as many processes, measured just before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from bench.figures import Sample, Sizes, Step
from bench.measures.drain import drained
from bench.subject import Subject
from bench.systems.jobs import compute

CORES = os.cpu_count() or 1
FIGURE = "a process for each core"


def measure(subject: Subject, sizes: Sizes) -> Iterator[Sample]:
    kind = next((each for each in ("compute", "function") if each in subject.about.kinds), subject.kind)
    ideal = _ideal(sizes.computes)
    subject.fill(sizes.computes, kind=kind, job="compute")
    # Where there is a special way, one process hands such jobs to as many processes as there are cores.
    concurrency, processes = (CORES, 1) if kind == "compute" else (1, CORES)
    with subject.worker(kind, concurrency, processes) as running:
        counted = drained(subject, running)
    yield Sample(FIGURE, 100 * counted.rate / ideal, "% of the ideal")


def _ideal(jobs: int) -> float:
    """Jobs a second."""
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        list(pool.map(_several, [1] * CORES))  # all have started
        began = time.perf_counter()
        list(pool.map(_several, [jobs // CORES] * CORES))
        return jobs // CORES * CORES / (time.perf_counter() - began)


def _several(times: int) -> None:
    for _ in range(times):
        compute()


STEPS = (Step(measure),)
