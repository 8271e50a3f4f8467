"""SAQ, on Redis and on PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from saq import Queue

from bench.systems import jobs
from bench.systems.adapter import CONCURRENCY, URL, Adapter, Load

PROCESSES, BEST = 2, 100
queue = Queue.from_url(URL)


async def coroutine(_: dict[str, Any], *, job: str, value: float) -> float:
    return await jobs.arun(job, value)


def function(_: dict[str, Any], *, job: str, value: float) -> float:
    return jobs.run(job, value)


settings = {"queue": queue, "functions": [coroutine, function], "concurrency": CONCURRENCY or BEST}


class SaqAdapter(Adapter):
    packages = ("saq", "redis", "hiredis", "psycopg", "uvloop")
    kinds = ("coroutine", "function", "retried")
    guarantee = (
        "at least once for jobs with retries: one whose worker is gone is found by the sweep, within its "
        "timeout of 10 s and a minute"
    )
    settings = f"two tries; at its best {PROCESSES} processes, each with {BEST} jobs at once"

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        await queue.connect()
        yield
        await queue.disconnect()

    async def asend(self, kind: str, job: str, value: float) -> None:
        await queue.enqueue("coroutine" if kind == "retried" else kind, job=job, value=value, retries=2)

    async def acall_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        await queue.map(kind, [{"job": job, "value": value} for value in values], timeout=60, retries=2)

    def workers(self, load: Load) -> list[list[str]]:
        return [["saq", "bench.systems.saq.settings", "--quiet", f"--workers={load.processes or PROCESSES}"]]


adapter = SaqAdapter()
