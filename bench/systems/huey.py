"""Huey on Redis, where it has no acknowledgement: what its worker has taken when it dies is lost."""

from __future__ import annotations

from collections.abc import Sequence

from huey import RedisHuey

from bench.systems import jobs
from bench.systems.adapter import URL, Adapter, Load

BEST = 10
"""Threads. With two processes it ran half as many tasks."""
app = RedisHuey("bench", url=URL or "redis://")


@app.task(name="function")
def function(job: str, value: float) -> float:
    return jobs.run(job, value)


@app.task(name="retried", retries=5)
def retried(job: str, value: float) -> float:
    return jobs.run(job, value)


class HueyAdapter(Adapter):
    packages = ("huey", "redis", "hiredis")
    kinds = ("function", "retried")
    guarantee = "at most once: a task leaves Redis before it is run"
    at_least_once = False
    settings = f"its defaults, which keep results; at its best {BEST} threads; processes run one task each"

    def send(self, kind: str, job: str, value: float) -> None:
        (retried if kind == "retried" else function)(job, value)

    def call_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        for each in [function(job, value) for value in values]:
            each.get(blocking=True, timeout=60)

    def workers(self, load: Load) -> list[list[str]]:
        if load.processes is None or (load.processes == 1 and load.concurrency):
            options = ["-k", "thread", "-w", str(load.concurrency or BEST)]
        else:
            options = ["-k", "process", "-w", str(load.processes * (load.concurrency or 1))]
        return [["huey_consumer", "bench.systems.huey.app", "--quiet", *options]]


adapter = HueyAdapter()
