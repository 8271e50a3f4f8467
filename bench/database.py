"""The app's file as the measures see it: filled through the public API, read beside the worker."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from backburner import Backburner

STEP = 10_000
POLL = 0.05
PATIENCE = 20.0
"""Seconds without a finished job after which a drain has failed."""

# Every finished job has a time at which it may be pruned, in the order in which they finished.
FINISHED = "SELECT count(*) FROM backburner_jobs WHERE prune_at IS NOT NULL"
WAITING = "SELECT count(*) FROM backburner_jobs WHERE state = 'queued'"
SPAN = """
SELECT count(*), min(started_at), max(finished_at) FROM (
    SELECT started_at, finished_at FROM backburner_jobs
    WHERE prune_at IS NOT NULL AND state = 'succeeded' ORDER BY prune_at LIMIT ?2 OFFSET ?1
)
"""


class Span(NamedTuple):
    """From the start of the first to the end of the last of some jobs, on `time.time()`."""

    first: float
    last: float


def app_on(path: Path) -> Backburner:
    """An app that enqueues the tasks of `tasks.py` by name, as a process without their code does."""
    return Backburner(f"sqlite:///{path}")


def fill(path: Path, task: str, waiting: int) -> None:
    """Enqueue no-op jobs until so many wait, and leave the file without a write-ahead log to work off."""
    app = app_on(path)
    try:
        app.broker.migrate()
        missing = waiting - _count(path, WAITING)
        for first in range(0, missing, STEP):
            calls = ((number,) for number in range(first, min(first + STEP, missing)))
            app.named(f"bench.tasks.{task}").enqueue_many(calls)
    finally:
        app.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def finished(path: Path) -> int:
    return _count(path, FINISHED)


def wait_until_finished(path: Path, count: int) -> None:
    """Return when so many jobs of the file have finished."""
    seen, since = -1, time.monotonic()
    while (now := finished(path)) < count:
        if now > seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            raise TimeoutError(f"no job finished for {PATIENCE:.0f} s; {now} of {count} are done")
        time.sleep(POLL)


def span(path: Path, skip: int, count: int) -> Span:
    """When the `count` jobs ran that finished after the first `skip`."""
    with closing(sqlite3.connect(path)) as connection:
        found, first, last = connection.execute(SPAN, (skip, count)).fetchone()
    assert found == count, f"{found} of {count} jobs succeeded"
    return Span(first, last)


def _count(path: Path, query: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        number: int = connection.execute(query).fetchone()[0]
    return number
