"""procrastinate, with the periodic task of its documentation that retries the jobs of dead workers."""

from __future__ import annotations

from functools import cache

from procrastinate import App, JobContext, PsycopgConnector, RetryStrategy

from peers import effects

app = App(connector=PsycopgConnector(conninfo=effects.URL))


@app.task(name="work", retry=RetryStrategy(max_attempts=5))  # type: ignore[untyped-decorator]
def work(number: int) -> None:
    effects.work(number)


@app.periodic(cron="* * * * * */10")  # type: ignore[untyped-decorator]
@app.task(name="stalled", queueing_lock="stalled", pass_context=True)  # type: ignore[untyped-decorator]
async def retry_stalled_jobs(context: JobContext, timestamp: int) -> None:  # noqa: ARG001
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


@cache
def opened() -> App:
    return app.open()


def enqueue(number: int) -> None:
    opened().configure_task("work").defer(number=number)
