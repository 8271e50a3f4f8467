"""Celery, with the settings by which its documentation keeps a task whose worker dies."""

from __future__ import annotations

from collections.abc import Sequence

from celery import Celery

from bench.systems import jobs
from bench.systems.adapter import RESULTS, URL, Adapter, Load

REDIS = URL.startswith("redis")
PREFETCH = 64
BEST = 10
"""Processes. With one for each core it ran fewer jobs on RabbitMQ, and as many on Redis."""

app = Celery("bench", broker=URL, backend=(URL if REDIS else "rpc://") if RESULTS else None)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=not RESULTS,
    worker_prefetch_multiplier=PREFETCH,
    broker_connection_retry_on_startup=True,
)
if not REDIS:
    app.conf.task_default_queue_type = "quorum"
    app.conf.broker_transport_options = {"confirm_publish": True}


@app.task(name="function")
def function(job: str, value: float) -> float:
    return jobs.run(job, value)


@app.task(name="retried", autoretry_for=(jobs.Flaky,), max_retries=5, default_retry_delay=0)
def retried(job: str, value: float) -> float:
    return jobs.run(job, value)


class CeleryAdapter(Adapter):
    packages = ("celery", "kombu", "redis", "amqp")
    kinds = ("function", "retried")
    guarantee = (
        "at least once: acknowledged after the task ended; on Redis a task whose worker is gone comes back "
        "after the visibility timeout of an hour"
        if REDIS
        else "at least once: acknowledged after the task ended; published with confirms to a quorum queue"
    )
    settings = (
        f"acks_late, reject_on_worker_lost, prefetch multiplier {PREFETCH}; prefork, whose processes run one "
        f"task each; at its best {BEST} of them"
    )

    def send(self, kind: str, job: str, value: float) -> None:
        (retried if kind == "retried" else function).delay(job, value)

    def call_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        for each in [function.delay(job, value) for value in values]:
            each.get(timeout=60)

    def workers(self, load: Load) -> list[list[str]]:
        children = (load.concurrency or 1) * (load.processes or (1 if load.concurrency else BEST))
        options = ["worker", "--loglevel=WARNING", f"--concurrency={children}"]
        return [["celery", "--app=bench.systems.celery", *options]]


adapter = CeleryAdapter()
