"""taskiq on Redis streams, and on RabbitMQ's quorum queues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from taskiq import AsyncBroker, SimpleRetryMiddleware
from taskiq_aio_pika import AioPikaBroker
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from bench.systems import jobs
from bench.systems.adapter import CONCURRENCY, RESULTS, URL, Adapter, Load

REDIS = URL.startswith("redis")
PROCESSES, BEST, PREFETCH = 2, 100, 100
broker: AsyncBroker = (
    RedisStreamBroker(URL) if REDIS else AioPikaBroker(URL, qos=PREFETCH + (CONCURRENCY or BEST))
)
broker.add_middlewares(SimpleRetryMiddleware())
if RESULTS:
    broker = broker.with_result_backend(RedisAsyncResultBackend(URL))


@broker.task
async def coroutine(job: str, value: float) -> float:
    return await jobs.arun(job, value)


@broker.task
def function(job: str, value: float) -> float:
    return jobs.run(job, value)


@broker.task(retry_on_error=True, max_retries=5)
async def retried(job: str, value: float) -> float:
    return await jobs.arun(job, value)


TASKS = {"coroutine": coroutine, "function": function, "retried": retried}


class TaskiqAdapter(Adapter):
    packages = ("taskiq", "taskiq-redis", "taskiq-aio-pika", "redis", "aio-pika", "uvloop")
    kinds = ("coroutine", "function", "retried")
    guarantee = (
        "at least once: acknowledged after the task ended; a message whose worker is gone comes back after "
        "ten minutes"
        if REDIS
        else "at least once: acknowledged after the task ended; published with confirms to a quorum queue"
    )
    settings = (
        f"max-prefetch {PREFETCH}; at its best {PROCESSES} processes, each with {BEST} tasks at once; uvloop"
    )

    def offers(self, method: str) -> bool:
        """Results are kept in Redis."""
        return super().offers(method) and (REDIS or method != "acall_many")

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        await broker.startup()
        yield
        await broker.shutdown()

    async def asend(self, kind: str, job: str, value: float) -> None:
        await TASKS[kind].kiq(job, value)

    async def acall_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        for each in await asyncio.gather(*(coroutine.kiq(job, value) for value in values)):
            await each.wait_result(timeout=60, check_interval=0.01)

    def workers(self, load: Load) -> list[list[str]]:
        at_once = load.concurrency or BEST
        options = [f"--workers={load.processes or PROCESSES}", f"--max-async-tasks={at_once}"]
        options += [f"--max-threadpool-threads={at_once}", f"--max-prefetch={PREFETCH}"]
        return [["taskiq", "worker", "bench.systems.taskiq:broker", "--log-level=WARNING", *options]]


adapter = TaskiqAdapter()
