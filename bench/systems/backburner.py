"""Backburner, on each of its brokers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from backburner import Backburner, Retry, Task
from bench.systems import jobs
from bench.systems.adapter import LATER, URL, Adapter, Load

app = Backburner(URL or "sqlite:///unused.db")
PROCESSES = 1 if URL.startswith("sqlite") else 2
"""At its best: on SQLite two would wait for one lock."""


@app.task
async def coroutine(job: str, value: float) -> float:
    return await jobs.arun(job, value)


@app.task
def function(job: str, value: float) -> float:
    return jobs.run(job, value)


@app.task(cpu=True)
def compute(job: str, value: float) -> float:
    return jobs.run(job, value)


@app.task(retry=Retry(first=0.0))
async def retried(job: str, value: float) -> float:
    return await jobs.arun(job, value)


TASKS = {"coroutine": coroutine, "function": function, "compute": compute, "retried": retried}


class BackburnerAdapter(Adapter):
    packages = ("backburner", "msgspec", "hiredis", "psycopg", "pika", "uvloop")
    kinds = ("coroutine", "function", "compute", "retried")
    guarantee = "at least once: a job is settled after it ended, and its lease is 30 s"
    settings = (
        f"its defaults, BACKBURNER_URL set; at its best {PROCESSES} process{'es' * (PROCESSES > 1)}, "
        "each with 100 coroutines or 8 threads"
    )

    def offers(self, method: str) -> bool:
        """RabbitMQ alone keeps no results."""
        return super().offers(method) and not (method == "call_many" and URL.startswith("amqp"))

    def prepare(self) -> None:
        app.broker.migrate()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        yield
        app.close()

    def close(self) -> None:
        app.close()

    def send(self, kind: str, job: str, value: float) -> None:
        _task(kind).enqueue(job, value)

    async def asend(self, kind: str, job: str, value: float) -> None:
        await _task(kind).aenqueue(job, value)

    def send_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        _task(kind).enqueue_many((job, value) for value in values)

    def send_later_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        _task(kind).using(delay=LATER).enqueue_many((job, value) for value in values)

    def call_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        for each in _task(kind).enqueue_many((job, value) for value in values):
            each.result(timeout=60)

    def workers(self, load: Load) -> list[list[str]]:
        options = [f"--processes={load.processes or (1 if load.concurrency else PROCESSES)}"]
        if load.concurrency:
            options += [
                f"--{pool}={load.concurrency}" for pool in ("concurrency", "threads", "cpu-processes")
            ]
        os.environ["BACKBURNER_URL"] = URL
        return [["backburner", "worker", "bench.systems.backburner:app", *options]]


def _task(kind: str) -> Task[[str, float], float]:
    return TASKS[kind]


adapter = BackburnerAdapter()
