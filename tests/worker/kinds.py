"""Tasks that exist three times: as a coroutine, as a function in a thread, and in a process of its own.

A worker's `cpu=True` process imports this module by name, and finds the database in BACKBURNER_URL.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

from backburner import Backburner, Middleware, Retry, current_job
from backburner.context import CurrentJob
from tests.worker.helpers import hear, say


class Noted(Middleware):
    """Writes one line a step, from whatever process it runs in, to the file that the job names."""

    def __init__(self, name: str) -> None:
        self.name = name

    @contextmanager
    def run(self, job: CurrentJob) -> Iterator[None]:
        note(job, f"{self.name} in")
        try:
            yield
        except Exception as error:
            note(job, f"{self.name} saw {type(error).__name__}")
            raise
        finally:
            note(job, f"{self.name} out")


class AsyncNoted(Middleware):
    def __init__(self, name: str) -> None:
        self.name = name

    @asynccontextmanager
    async def run(self, job: CurrentJob) -> AsyncIterator[None]:
        note(job, f"{self.name} in")
        await asyncio.sleep(0)
        try:
            yield
        finally:
            note(job, f"{self.name} out")


def note(job: CurrentJob, line: str) -> None:
    if "notes" in job.meta:
        with Path(job.meta["notes"]).open("a", encoding="utf-8") as notes:
            notes.write(line + "\n")


app = Backburner(
    retry=Retry(max_attempts=2, first=0, jitter=0),
    # So rare that what a test waits for never comes by a heartbeat alone.
    lease=200,
    heartbeat=100,
    middleware=[Noted("one"), AsyncNoted("two"), Noted("three"), AsyncNoted("four")]
    if os.environ.get("KINDS_MIDDLEWARE")
    else [],
)


def add(a: int, b: int) -> int:
    note(current_job(), "task")
    return a + b


def fail(message: str) -> None:
    raise LookupError(message)


def leave(code: int) -> None:
    sys.exit(code)


def spin(pipe: str) -> None:
    say(pipe)
    while True:
        pass


def linger(pipe: str, answer: str) -> str:
    """Takes as long as the test wants, and ends in peace."""
    say(pipe)
    return hear(answer)


def describe() -> dict[str, Any]:
    job = current_job()
    return {
        "id": job.id,
        "task": job.task,
        "queue": job.queue,
        "attempt": job.attempt,
        "token": job.token,
        "meta": job.meta,
        "tags": job.tags,
        "seconds": None if job.deadline is None else round(job.deadline - time.monotonic(), -3),
        "cancelled": job.cancelled,
    }


def resume(pipe: str, answer: str) -> int:
    """Fails in its first attempt, after a checkpoint; the second one goes on from there."""
    job = current_job()
    if job.checkpoint is None:
        job.report({"done": 7})
        say(pipe, "reported")
        hear(answer)
        job.save({"row": 41})
        raise LookupError("half way")
    return int(job.checkpoint["row"]) + 1


def follow(succeed: bool) -> str:
    identity = current_job().then(sink, succeed)
    if not succeed:
        raise LookupError(identity)
    return identity


def complete(how: str) -> str:
    """One effect and the job's success in one transaction; the first attempt may `forget` to commit it."""
    job = current_job()
    with effects() as own:
        own.execute(f"INSERT INTO effects VALUES ('{job.id}')")
        job.then(sink, how)
        job.complete_in(own, f"completed: {how}")
        if how != "forget" or job.attempt > 1:
            own.commit()
    if how == "fail":
        raise LookupError("after the commit")
    return "nobody looks at this"


@contextmanager
def effects() -> Iterator[Any]:
    """The queue's own database, in which the application has a table, too."""
    url, _, schema = app.settings.url.partition("?schema=")
    make = "CREATE TABLE IF NOT EXISTS effects (job TEXT)"
    if schema:
        import psycopg

        with closing(psycopg.connect(url, options=f"-c search_path={schema}")) as own:
            own.execute(make)
            own.commit()
            yield own
    else:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as lite:
            lite.execute(make)
            yield lite


@app.task
async def sink(value: object) -> object:
    return value


@app.task(name="coroutine.add")
async def coroutine_add(a: int, b: int) -> int:
    return add(a, b)


@app.task(name="coroutine.fail")
async def coroutine_fail(message: str) -> None:
    fail(message)


@app.task(name="coroutine.leave")
async def coroutine_leave(code: int) -> None:
    leave(code)


@app.task(name="coroutine.spin")
async def coroutine_spin(pipe: str) -> None:
    say(pipe)
    await asyncio.Event().wait()


@app.task(name="coroutine.linger")
async def coroutine_linger(pipe: str, answer: str) -> str:
    say(pipe)
    return await asyncio.to_thread(hear, answer)


@app.task(name="coroutine.describe")
async def coroutine_describe() -> dict[str, Any]:
    return describe()


@app.task(name="coroutine.resume")
async def coroutine_resume(pipe: str, answer: str) -> int:
    job = current_job()
    if job.checkpoint is None:
        await job.areport({"done": 7})
        say(pipe, "reported")
        await asyncio.to_thread(hear, answer)
        await job.asave({"row": 41})
        raise LookupError("half way")
    return int(job.checkpoint["row"]) + 1


@app.task(name="coroutine.follow")
async def coroutine_follow(succeed: bool) -> str:
    return follow(succeed)


@app.task(name="coroutine.complete")
async def coroutine_complete(how: str) -> str:
    job = current_job()
    with effects() as own:
        own.execute(f"INSERT INTO effects VALUES ('{job.id}')")
        job.then(sink, how)
        await job.acomplete_in(own, f"completed: {how}")
        if how != "forget" or job.attempt > 1:
            own.commit()
    if how == "fail":
        raise LookupError("after the commit")
    return "nobody looks at this"


for each in (add, fail, leave, spin, linger, describe, resume, follow, complete):
    app.task(name=f"thread.{each.__name__}")(each)


@app.task(name="process.add", cpu=True)
def process_add(a: int, b: int) -> int:
    return add(a, b)


@app.task(name="process.fail", cpu=True)
def process_fail(message: str) -> None:
    fail(message)


@app.task(name="process.leave", cpu=True)
def process_leave(code: int) -> None:
    leave(code)


@app.task(name="process.spin", cpu=True)
def process_spin(pipe: str) -> None:
    spin(pipe)


@app.task(name="process.linger", cpu=True)
def process_linger(pipe: str, answer: str) -> str:
    return linger(pipe, answer)


@app.task(name="process.kill", cpu=True)
def process_kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="process.whoami", cpu=True)
def process_whoami() -> int:
    return os.getpid()


@app.task(name="process.describe", cpu=True)
def process_describe() -> dict[str, Any]:
    return describe()


@app.task(name="process.resume", cpu=True)
def process_resume(pipe: str, answer: str) -> int:
    return resume(pipe, answer)


@app.task(name="process.complete", cpu=True)
def process_complete(how: str) -> str:
    return complete(how)


@app.task(name="process.follow", cpu=True)
def process_follow(succeed: bool) -> str:
    return follow(succeed)
