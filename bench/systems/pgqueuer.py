"""pgqueuer, on asyncpg."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import asyncpg
import uvloop
from pgqueuer import (
    AsyncpgDriver,
    AsyncpgPoolDriver,
    DatabaseRetryEntrypointExecutor,
    Job,
    PgQueuer,
    Queries,
    run,
)

from bench.systems import jobs
from bench.systems.adapter import LATER, URL, Adapter, Load

PROCESSES, BATCH, BULK = 2, 100, 1000


_at_once = partial(DatabaseRetryEntrypointExecutor, initial_delay=timedelta(0))


@asynccontextmanager
async def factory() -> AsyncIterator[PgQueuer]:
    """A worker."""
    connection = await asyncpg.connect(URL)
    app = PgQueuer(AsyncpgDriver(connection))

    @app.entrypoint("coroutine")
    async def coroutine(job: Job) -> None:
        await jobs.arun(*json.loads(job.payload or b""))

    @app.entrypoint("function")
    async def function(job: Job) -> None:
        # It takes coroutines alone, and names this for what blocks.
        await asyncio.to_thread(jobs.run, *json.loads(job.payload or b""))

    @app.entrypoint("retried", executor_factory=_at_once)
    async def retried(job: Job) -> None:
        await jobs.arun(*json.loads(job.payload or b""))

    yield app
    await connection.close()


class PgqueuerAdapter(Adapter):
    packages = ("pgqueuer", "asyncpg", "uvloop")
    kinds = ("coroutine", "function", "retried")
    guarantee = (
        "at least once: a job whose worker is gone is taken again after a heartbeat timeout of 30 s; what "
        "ended is written down in batches, at most 0.1 s later"
    )
    settings = (
        f"durable tables, uvloop, asyncio.to_thread for functions; at its best {PROCESSES} processes with "
        f"batches of {BATCH} and no limit; with ten at once batches of five, the most that it allows"
    )

    queries: Queries

    def prepare(self) -> None:
        async def install() -> None:
            connection = await asyncpg.connect(URL)
            await Queries(AsyncpgDriver(connection)).install()
            await connection.close()

        asyncio.run(install())

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        async with asyncpg.create_pool(URL) as pool:
            self.queries = Queries(AsyncpgPoolDriver(pool))
            yield

    async def asend(self, kind: str, job: str, value: float) -> None:
        await self.queries.enqueue(kind, json.dumps((job, value)).encode())

    async def asend_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        await self._send_many(kind, job, values, None)

    async def asend_later_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        await self._send_many(kind, job, values, timedelta(seconds=LATER))

    async def _send_many(self, kind: str, job: str, values: Sequence[float], later: timedelta | None) -> None:
        for first in range(0, len(values), BULK):
            payloads = [json.dumps((job, value)).encode() for value in values[first : first + BULK]]
            count = len(payloads)
            await self.queries.enqueue([kind] * count, payloads, [0] * count, [later] * count)

    def workers(self, load: Load) -> list[list[str]]:
        command = [sys.executable, "-m", "bench.systems.pgqueuer", str(load.concurrency or 0)]
        return [command] * (load.processes or PROCESSES)


adapter = PgqueuerAdapter()


async def main(concurrency: int) -> None:
    """What `pgq run` does, which does not start with the typer that is installed beside it (0.29)."""
    batch = max(concurrency // 2, 1) if concurrency else BATCH
    await run(factory, batch_size=batch, max_concurrent_tasks=2 * batch if concurrency else None)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
