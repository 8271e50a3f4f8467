"""RQ, with retries: without them a job whose worker dies is a failed one, and is not run again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from redis import Redis
from rq import Queue, Retry
from rq.job import Job

from bench.systems import jobs
from bench.systems.adapter import URL, Adapter, Load

BEST = 10
"""Worker processes. With one for each core it ran half as many jobs."""
TRIES = 5


class RqAdapter(Adapter):
    packages = ("rq", "redis", "hiredis")
    kinds = ("function", "retried")
    guarantee = "at least once, with retries: a job whose worker is gone is found within minutes"
    settings = (
        f"{TRIES} retries; SimpleWorker, which runs jobs in its own process: the default forks for each; "
        f"at its best {BEST} workers, which run one job each"
    )

    def send(self, kind: str, job: str, value: float) -> None:
        _queue().enqueue(jobs.run, job, value, retry=Retry(max=TRIES))

    def send_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        _send_many(job, values)

    def call_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        for each in _send_many(job, values):
            each.latest_result(timeout=60)

    def workers(self, load: Load) -> list[list[str]]:
        count = (load.concurrency or 1) * (load.processes or (1 if load.concurrency else BEST))
        options = ["--quiet", f"--url={URL}", f"--num-workers={count}"]
        return [["rq", "worker-pool", "default", "--worker-class=rq.worker.SimpleWorker", *options]]


@cache
def _queue() -> Queue:
    return Queue(connection=Redis.from_url(URL))


def _send_many(job: str, values: Sequence[float]) -> list[Job]:
    retry = Retry(max=TRIES)
    return _queue().enqueue_many(
        [Queue.prepare_data(jobs.run, args=(job, value), retry=retry) for value in values]
    )


adapter = RqAdapter()
