"""The ceiling: the shortest loop that does a queue's work directly on sqlite3, as durably.

1. A file as Backburner has it: write-ahead log, full sync, one table whose partial indexes hold the waiting,
   the running and the finished jobs.
2. `insert` stores jobs, so many in a transaction.
3. `drain` settles one batch with its results and claims the next in one transaction, both guarded as they
   must be for several workers, decodes each payload and awaits a coroutine that does nothing.
It has one process, one thread and one kind of job; no leases, retries, time limits, events or wake-ups.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

BATCHES = (1, 10, 100, 500)

SCHEMA = """
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, task TEXT NOT NULL, queue TEXT NOT NULL,
    priority INTEGER NOT NULL, state TEXT NOT NULL, payload BLOB NOT NULL, run_at REAL NOT NULL,
    token INTEGER NOT NULL DEFAULT 0, worker TEXT, started_at REAL, finished_at REAL, result BLOB
) STRICT;
CREATE INDEX jobs_queued ON jobs (queue, priority DESC, run_at) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (worker) WHERE state = 'running';
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;
"""
INSERT = """
INSERT INTO jobs (id, task, queue, priority, state, payload, run_at)
VALUES (?, 'noop', 'default', 0, 'queued', ?, ?)
"""
SETTLE = """
UPDATE jobs SET state = 'succeeded', result = ?, finished_at = ?
WHERE seq = ? AND token = ? AND state = 'running'
"""
CLAIM = """
UPDATE jobs SET state = 'running', token = token + 1, worker = 'bare', started_at = ?
WHERE seq IN (
    SELECT seq FROM jobs WHERE state = 'queued' AND queue = 'default'
    ORDER BY priority DESC, run_at, seq LIMIT ?
)
RETURNING seq, token, payload
"""


def insert(path: Path, jobs: int, batch: int) -> float:
    """Jobs stored a second."""
    with _opened(path) as connection:
        began = time.perf_counter()
        for first in range(0, jobs, batch):
            rows = [_row(number) for number in range(first, min(first + batch, jobs))]
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(INSERT, rows)
            connection.execute("COMMIT")
        return jobs / (time.perf_counter() - began)


def drain(path: Path, jobs: int, batch: int) -> float:
    """Jobs run a second, from the first claim to the last settlement."""
    insert(path, jobs, 1000)
    with _opened(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        began = time.perf_counter()
        finished = asyncio.run(_drain(connection, batch))
        rate = jobs / (time.perf_counter() - began)
    assert finished == jobs, f"{finished} of {jobs} jobs were run"
    return rate


async def _drain(connection: sqlite3.Connection, batch: int) -> int:
    finished = 0
    settlements: list[tuple[bytes, float, int, int]] = []
    for turn in itertools.count():
        connection.execute("BEGIN IMMEDIATE")
        if settlements:
            finished += connection.executemany(SETTLE, settlements).rowcount
        claimed = connection.execute(CLAIM, (time.time(), batch)).fetchall()
        connection.execute("COMMIT")
        if turn and not claimed:
            break
        settlements = []
        for seq, token, payload in claimed:
            result = await _noop(*_arguments.decode(payload))
            settlements.append((_encode(result), time.time(), seq, token))
    return finished


async def _noop(number: int) -> int:
    return number


_arguments = msgspec.json.Decoder(tuple[int])
_encode = msgspec.json.Encoder().encode


def _row(number: int) -> tuple[str, bytes, float]:
    # An id that nobody can guess and that sorts by time, as a UUID of version 7 does.
    return f"{time.time_ns():016x}{os.urandom(10).hex()}", _encode((number,)), time.time()


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -8000")
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            connection.executescript(SCHEMA)
        yield connection
