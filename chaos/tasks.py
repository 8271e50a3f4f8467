"""The app of the chaos run. Its tasks are of every kind, and say what happens to them.

The environment has the URLs (`CHAOS_URL`, `CHAOS_RESULTS`), the folder of the run (`CHAOS_FOLDER`) and who
this process is (`CHAOS_ROLE`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from backburner import Backburner, Retry, Snooze, current_job, events
from backburner.context import CurrentJob
from backburner.job import JobRecord
from backburner.lifecycle import State
from backburner.middleware import Middleware
from chaos.observe import Observer
from tests.oracle import Began, Doubtful, Followed, Returned, Settled

LEASE, HEARTBEAT = 5.0, 1.5
EVERY = 5.0
"""Seconds between two fires of the periodic task."""
QUICK = Retry(first=0.2, factor=2.0)
GREED = 64 * 1024 * 1024

FOLDER = Path(os.environ.get("CHAOS_FOLDER", "."))
URL = os.environ.get("CHAOS_URL", "sqlite://")
observer = Observer(FOLDER, os.environ.get("CHAOS_ROLE", "worker"))
own = threading.local()
"""The connection of each thread to the queue's own database, as an application has it."""


class Watch(Middleware):
    """Writes down that a job may be stored, before anybody knows, and that an attempt has returned."""

    def __init__(self, observer: Observer) -> None:
        self._see = observer.see

    @contextmanager
    def enqueue(self, job: JobRecord) -> Iterator[None]:
        self._see(Doubtful(job.id, effect=job.task == "chaos.tasks.complete"))
        yield

    @contextmanager
    def run(self, job: CurrentJob) -> Iterator[None]:
        yield
        self._see(Returned(job.id, job.token))


def make_app(url: str, results: str | None, observer: Observer) -> Backburner:
    return Backburner(
        url, results=results, middleware=[Watch(observer)], lease=LEASE, heartbeat=HEARTBEAT, retry=QUICK
    )


app = make_app(URL, os.environ.get("CHAOS_RESULTS"), observer)

ENDS: dict[type[events.JobEvent], State] = {
    events.Succeeded: State.SUCCEEDED,
    events.Failed: State.RETRYING,
    events.Died: State.DEAD,
    events.Cancelled: State.CANCELLED,
    events.Snoozed: State.SCHEDULED,
    events.Released: State.QUEUED,
}


@app.on(events.Started)
def began(event: events.Started) -> None:
    job = event.job
    observer.see(Began(job.id, job.worker or "", job.token, job.attempt))


def settled(event: events.JobEvent) -> None:
    job = event.job
    observer.see(Settled(job.id, job.worker or "", job.token, ENDS[type(event)]))


for kind in ENDS:
    app.on(kind)(settled)


@app.task
async def wait(seconds: float) -> None:
    await asyncio.sleep(seconds)


@app.task
def work(seconds: float) -> None:
    time.sleep(seconds)


@app.task(cpu=True)
def compute(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@app.task
async def flaky() -> int:
    """Fails twice."""
    if current_job().attempt < 3:
        raise ConnectionError("it works the third time")
    return current_job().attempt


@app.task
async def broken() -> None:
    raise ValueError("no attempt can help")


@app.task
async def later() -> None:
    """Asks to come back, once at least."""
    if current_job().token == 1:
        raise Snooze(0.5)


@app.task
async def parent() -> None:
    job = current_job()
    observer.see(Followed(job.then(wait, 0.01), job.id, job.token))


@app.every(EVERY, missed="all")
@app.task
async def tick() -> None:
    pass


@app.task
def greedy() -> None:
    """Takes memory, and is killed for it as by the kernel; the second time it needs none."""
    if current_job().token == 1:
        taken = bytearray(os.urandom(4096)) * (GREED // 4096)
        os.kill(os.getpid(), signal.SIGKILL if taken else signal.SIGTERM)


def mark(name: str) -> None:
    """A line that says when this attempt began, and where."""
    job = current_job()
    file = os.open(FOLDER / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{job.id} {job.token} {os.getpid()} {time.time()}\n".encode())
    finally:
        os.close(file)


@app.task
async def hold() -> None:
    """Does not end, the first time."""
    mark("hold")
    if current_job().token == 1:
        await asyncio.Event().wait()


@app.task
async def brief(seconds: float) -> None:
    mark("brief")
    await asyncio.sleep(seconds)


@contextmanager
def own_transaction(url: str) -> Iterator[Any]:
    """A transaction on the queue's own database, for who commits it."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30.0)) as lite:
            yield lite
        return
    import psycopg

    if not hasattr(own, "connection") or own.connection.closed:
        own.connection = psycopg.connect(url)
    try:
        yield own.connection
    except BaseException:
        own.connection.close()  # it may be broken, and the next one begins anew
        raise
    own.connection.rollback()  # what was not committed


@app.task
def complete() -> None:
    """Its effect is a row in the queue's own database."""
    job = current_job()
    with own_transaction(URL) as connection:
        connection.execute(f"INSERT INTO effects VALUES ('{job.id}', {job.token})")  # noqa: S608 - our own words
        job.complete_in(connection)
        connection.commit()
