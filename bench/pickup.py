"""How soon an idle worker starts a job: from before `enqueue` here to the first line of the function."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

from bench.database import app_on
from bench.figures import Sample, Sizes
from bench.worker import worker

P50, P99 = "pick-up at idle, p50", "pick-up at idle, p99"


def measure(sizes: Sizes, folder: Path) -> Iterator[Sample]:
    path = folder / "pickup.db"
    task = (app := app_on(path)).named("bench.tasks.clock")
    times: list[float] = []
    with worker(path):
        for _ in range(sizes.pickups):
            # Long enough for the worker to go idle again, and in step with nothing that it does.
            time.sleep(random.uniform(0.02, 0.06))
            asked = time.time()
            started: float = task.enqueue().result(timeout=30)
            times.append((started - asked) * 1000)
    app.close()
    path.unlink()
    cuts = quantiles(times, n=100, method="inclusive")
    yield Sample(P50, cuts[49], "ms")
    yield Sample(P99, cuts[98], "ms")
