"""The jobs of a run: of every kind and with every ending. What becomes of them is written down."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from backburner import Backburner, Middleware, Retry, Snooze, State, current_job, events
from backburner.context import CurrentJob
from backburner.job import JobRecord
from chaos.seen import Notebook
from tests.oracle import Began, Doubtful, Followed, Returned, Settled

FOLDER = Path(os.environ["CHAOS_FOLDER"])
URL = os.environ["CHAOS_URL"]
DATABASE = os.environ["CHAOS_DATABASE"]
"""The queue's own database, for what completes in a transaction; empty where there is none."""
notebook = Notebook(FOLDER)


class Witness(Middleware):
    """Writes down what is about to be enqueued, and that an attempt returned."""

    @contextmanager
    def enqueue(self, job: JobRecord) -> Iterator[None]:
        notebook.write(Doubtful(job.id))
        yield

    @contextmanager
    def run(self, job: CurrentJob) -> Iterator[None]:
        yield
        notebook.write(Returned(job.id, job.token))


app = Backburner(URL, middleware=[Witness()], **json.loads(os.environ["CHAOS_SETTINGS"]))
SOON = Retry(first=0.5, factor=2, cap=2.0)


@app.on(events.Started)
def began(event: events.Started) -> None:
    job = event.job
    notebook.write(Began(job.id, job.worker or "", job.token, job.attempt))


def settled(event: events.JobEvent) -> None:
    job = event.job
    notebook.write(Settled(job.id, job.worker or "", job.token, STATES[type(event)]))


STATES: dict[type[events.JobEvent], State] = {
    events.Succeeded: State.SUCCEEDED,
    events.Failed: State.RETRYING,
    events.Died: State.DEAD,
    events.Cancelled: State.CANCELLED,
    events.Snoozed: State.SCHEDULED,
    events.Released: State.QUEUED,
}
for kind in STATES:
    app.on(kind)(settled)


@app.task(retry=SOON)
async def coroutine(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return os.getpid()


@app.task(retry=SOON)
def function(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


@app.task(retry=SOON, cpu=True)
def heavy(seconds: float) -> int:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return os.getpid()


@app.task(retry=SOON)
async def flaky() -> None:
    if current_job().attempt == 1:
        raise ConnectionError("the first attempt fails")


@app.task(retry=Retry(max_attempts=2, first=0.2))
def doomed() -> None:
    raise ValueError("no retry can help")


@app.task(retry=SOON)
async def sleepy() -> None:
    if current_job().token == 1:
        raise Snooze(1.0)


@app.task(retry=SOON)
async def parent() -> None:
    job = current_job()
    notebook.write(Followed(job.then(coroutine, 0.001), job.id, job.token))


@app.task(retry=SOON)
def complete() -> None:
    """Its effect is a row in the queue's own database, in the transaction that completes it."""
    job = current_job()
    with closing(_connect()) as connection:
        connection.execute(f"INSERT INTO effects VALUES ('{job.id}', {job.token})")
        job.complete_in(connection)
        connection.commit()


def _connect() -> Any:
    if DATABASE.startswith("sqlite"):
        return sqlite3.connect(DATABASE.removeprefix("sqlite:///"), timeout=30.0)
    import psycopg

    return psycopg.connect(DATABASE)


@app.every(2)
@app.task(retry=SOON)
async def periodic() -> None: ...
