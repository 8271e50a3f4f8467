"""arq, which polls: with a delay so short that it is not the delay that is measured."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from arq import ArqRedis, Retry, create_pool
from arq.connections import RedisSettings

from bench.systems import jobs
from bench.systems.adapter import CONCURRENCY, URL, Adapter, Load

BEST = 100
POLL = 0.01
SETTINGS = RedisSettings.from_dsn(URL or "redis://")


async def coroutine(_: dict[str, Any], job: str, value: float) -> float:
    return await jobs.arun(job, value)


async def retried(_: dict[str, Any], job: str, value: float) -> float:
    try:
        return await jobs.arun(job, value)
    except jobs.Flaky:
        raise Retry from None


class WorkerSettings:
    """As arq's command line wants it."""

    functions: ClassVar = [coroutine, retried]
    redis_settings = SETTINGS
    max_jobs = CONCURRENCY or BEST
    poll_delay = POLL


class ArqAdapter(Adapter):
    packages = ("arq", "redis", "hiredis")
    kinds = ("coroutine", "retried")
    guarantee = "at least once: a job leaves its queue after it ended; one whose worker is gone waits 310 s"
    settings = f"poll_delay {POLL} s (its default is 0.5); at its best one process with {BEST} coroutines"

    pool: ArqRedis

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        self.pool = await create_pool(SETTINGS)
        yield
        await self.pool.aclose()

    async def asend(self, kind: str, job: str, value: float) -> None:
        await self.pool.enqueue_job(kind, job, value)

    async def acall_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        sent = await asyncio.gather(*(self.pool.enqueue_job("coroutine", job, value) for value in values))
        for each in sent:
            assert each is not None
            await each.result(timeout=60, poll_delay=POLL)

    def workers(self, load: Load) -> list[list[str]]:
        return [["arq", "bench.systems.arq.WorkerSettings"]] * (load.processes or 1)


adapter = ArqAdapter()
