"""streaq, on Redis streams."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from streaq import StreaqRetry, Worker

from bench.systems import jobs
from bench.systems.adapter import CONCURRENCY, LATER, URL, Adapter, Load

PROCESSES, BEST, BULK = 2, 100, 1000
worker = Worker(
    redis_url=URL or "redis://", concurrency=CONCURRENCY or BEST, sync_concurrency=CONCURRENCY or BEST
)


@worker.task
async def coroutine(job: str, value: float) -> float:
    return await jobs.arun(job, value)


@worker.task
def function(job: str, value: float) -> float:
    return jobs.run(job, value)


@worker.task(max_tries=5)
async def retried(job: str, value: float) -> float:
    try:
        return await jobs.arun(job, value)
    except jobs.Flaky:
        raise StreaqRetry(delay=0) from None


TASKS = {"coroutine": coroutine, "function": function, "retried": retried}


class StreaqAdapter(Adapter):
    packages = ("streaq", "coredis", "uvloop")
    kinds = ("coroutine", "function", "retried")
    guarantee = (
        "at least once: acknowledged after the task ended; one whose worker is gone comes back in 60 s"
    )
    settings = f"at its best {PROCESSES} processes, each with {BEST} tasks at once"

    def opened(self) -> AbstractAsyncContextManager[object]:
        return worker

    async def asend(self, kind: str, job: str, value: float) -> None:
        await TASKS[kind].enqueue(job, value)

    async def asend_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        for first in range(0, len(values), BULK):
            together = values[first : first + BULK]
            await worker.enqueue_many([TASKS[kind].enqueue(job, value) for value in together])

    async def asend_later_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        for first in range(0, len(values), BULK):
            together = values[first : first + BULK]
            await worker.enqueue_many(
                [TASKS[kind].enqueue(job, value).start(delay=LATER) for value in together]
            )

    async def acall_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        sent = [TASKS[kind].enqueue(job, value) for value in values]
        await worker.enqueue_many(sent)
        for each in sent:
            await each.result(timeout=60)

    def workers(self, load: Load) -> list[list[str]]:
        return [["streaq", "run", "bench.systems.streaq:worker", f"--workers={load.processes or PROCESSES}"]]


adapter = StreaqAdapter()
