"""dramatiq, at least once as it is by default; on RabbitMQ with confirms."""

from __future__ import annotations

import os
from collections.abc import Sequence

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware.asyncio import AsyncIO
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from bench.systems import jobs
from bench.systems.adapter import RESULTS, URL, Adapter, Load

REDIS = URL.startswith("redis")
PREFETCH = 1000
PROCESSES, THREADS = 2, 4

broker = RedisBroker(url=URL) if REDIS else RabbitmqBroker(url=URL, confirm_delivery=True)
broker.add_middleware(AsyncIO())
if RESULTS:
    broker.add_middleware(Results(backend=RedisBackend(url=URL)))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True) if RESULTS else dramatiq.actor
def function(job: str, value: float) -> float | None:
    return _kept(jobs.run(job, value))


@dramatiq.actor(store_results=True) if RESULTS else dramatiq.actor
async def coroutine(job: str, value: float) -> float | None:
    return _kept(await jobs.arun(job, value))


@dramatiq.actor(min_backoff=1, max_backoff=1)
def retried(job: str, value: float) -> None:
    jobs.run(job, value)


def _kept(value: float) -> float | None:
    """A value that is not kept is warned about, each time."""
    return value if RESULTS else None


class DramatiqAdapter(Adapter):
    packages = ("dramatiq", "redis", "pika")
    kinds = ("function", "coroutine", "retried")
    guarantee = "at least once: acknowledged after the actor ended" + (
        "; a message whose worker is gone comes back after the heartbeat timeout of a minute"
        if REDIS
        else "; published with confirms to a durable classic queue, as it declares them"
    )
    settings = (
        f"prefetch {PREFETCH:,}{'' if REDIS else ', confirm_delivery'}; at its best {PROCESSES} processes of "
        f"{THREADS} threads; coroutines through its AsyncIO middleware"
    )

    def offers(self, method: str) -> bool:
        """Results are kept in Redis."""
        return super().offers(method) and (REDIS or method != "call_many")

    def send(self, kind: str, job: str, value: float) -> None:
        {"function": function, "coroutine": coroutine, "retried": retried}[kind].send(job, value)

    def call_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        for each in [function.send(job, value) for value in values]:
            each.get_result(block=True, timeout=60_000)

    def workers(self, load: Load) -> list[list[str]]:
        os.environ["dramatiq_queue_prefetch"] = str(PREFETCH)  # noqa: SIM112 - its own name
        processes = load.processes or PROCESSES
        options = [f"--processes={processes}", f"--threads={load.concurrency or THREADS}"]
        return [["dramatiq", "bench.systems.dramatiq", *options]]


adapter = DramatiqAdapter()
