"""pgqueuer, on asyncpg."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
from pgqueuer import AsyncpgDriver, AsyncpgPoolDriver, Job, PgQueuer, Queries

from bench.systems import jobs
from bench.systems.adapter import URL, Adapter, Load

PROCESSES, BATCH, BULK = 2, 100, 1000


async def factory() -> PgQueuer:
    """What its command line runs."""
    app = PgQueuer(AsyncpgDriver(await asyncpg.connect(URL)))

    @app.entrypoint("coroutine")
    async def coroutine(job: Job) -> None:
        await jobs.arun(*json.loads(job.payload or b""))

    @app.entrypoint("function")
    def function(job: Job) -> None:
        jobs.run(*json.loads(job.payload or b""))

    return app


class PgqueuerAdapter(Adapter):
    packages = ("pgqueuer", "asyncpg", "uvloop")
    kinds = ("coroutine", "function")
    guarantee = (
        "at least once: a job whose worker is gone is taken again after a heartbeat timeout of 30 s; what "
        "ended is written down in batches, at most 0.1 s later"
    )
    settings = (
        f"durable tables; at its best {PROCESSES} processes with batches of {BATCH} and no limit; with ten "
        "at once batches of five, the most that it allows"
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
        for first in range(0, len(values), BULK):
            payloads = [json.dumps((job, value)).encode() for value in values[first : first + BULK]]
            await self.queries.enqueue([kind] * len(payloads), payloads, [0] * len(payloads))

    def workers(self, load: Load) -> list[list[str]]:
        options = [f"--batch-size={BATCH}"]
        if load.concurrency:
            batch = max(load.concurrency // 2, 1)
            options = [f"--batch-size={batch}", f"--max-concurrent-tasks={2 * batch}"]
        command = ["pgq", "run", "bench.systems.pgqueuer:factory", *options]
        return [command] * (load.processes or PROCESSES)


adapter = PgqueuerAdapter()
