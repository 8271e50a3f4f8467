"""procrastinate, with the periodic task of its documentation that retries the jobs of dead workers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from functools import cache

from procrastinate import App, JobContext, PsycopgConnector, RetryStrategy
from procrastinate.jobs import JobDeferrer

from bench.systems import jobs
from bench.systems.adapter import LATER, URL, Adapter, Load

PROCESSES, BEST, BULK = 2, 10, 1000
app = App(connector=PsycopgConnector(conninfo=URL))


@app.task(name="coroutine", retry=RetryStrategy(max_attempts=5))
async def coroutine(job: str, value: float) -> None:
    await jobs.arun(job, value)


@app.task(name="function", retry=RetryStrategy(max_attempts=5))
def function(job: str, value: float) -> None:
    jobs.run(job, value)


@app.periodic(cron="*/10 * * * *")
@app.task(name="stalled", queueing_lock="stalled", pass_context=True)
async def retry_stalled_jobs(context: JobContext, timestamp: int) -> None:  # noqa: ARG001
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


class ProcrastinateAdapter(Adapter):
    packages = ("procrastinate", "psycopg")
    kinds = ("coroutine", "function", "retried")
    guarantee = "at least once: a job whose worker is gone is retried by a periodic task, within ten minutes"
    settings = (
        f"five attempts, the periodic task; at its best {PROCESSES} processes, {BEST} jobs at once in each"
    )

    def prepare(self) -> None:
        _opened().schema_manager.apply_schema()

    def opened(self) -> AbstractAsyncContextManager[object]:
        return app.open_async()

    def close(self) -> None:
        if _opened.cache_info().currsize:
            app.close()

    def send(self, kind: str, job: str, value: float) -> None:
        _opened().configure_task(_name(kind)).defer(job=job, value=value)

    async def asend(self, kind: str, job: str, value: float) -> None:
        await app.configure_task(_name(kind)).defer_async(job=job, value=value)

    def send_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        _defer(_opened().configure_task(_name(kind)), job, values)

    def send_later_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        _defer(_opened().configure_task(_name(kind), schedule_in={"seconds": LATER}), job, values)

    def workers(self, load: Load) -> list[list[str]]:
        command = ["procrastinate", "--app=bench.systems.procrastinate.app", "worker"]
        return [[*command, f"--concurrency={load.concurrency or BEST}"]] * (load.processes or PROCESSES)


def _name(kind: str) -> str:
    """All tasks are tried again at once."""
    return "coroutine" if kind == "retried" else kind


def _defer(task: JobDeferrer, job: str, values: Sequence[float]) -> None:
    for first in range(0, len(values), BULK):
        task.batch_defer(*({"job": job, "value": value} for value in values[first : first + BULK]))


@cache
def _opened() -> App:
    return app.open()


adapter = ProcrastinateAdapter()
