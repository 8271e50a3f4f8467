"""SQLite.

1. A file as Backburner has it: write-ahead log, full sync, one table whose partial indexes hold the waiting,
   the running and the finished jobs.
2. A turn settles one batch with its results and claims the next in one transaction, both guarded as they must
   be for several workers.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import BinaryIO, cast

from bench.bare import PAUSE, Stopped, decode, encode, slices, until
from bench.systems import jobs

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


def prepare(url: str) -> None:
    _opened(url).executescript(SCHEMA)


def insert(url: str, payloads: Sequence[bytes]) -> None:
    connection = _opened(url)
    for each in slices(payloads):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(INSERT, [(_id(), payload, time.time()) for payload in each])
        connection.execute("COMMIT")


async def work(url: str, batch: int, stopped: Stopped) -> None:
    connection = _opened(url)
    settlements: list[tuple[bytes, float, int, int]] = []
    while settlements or not stopped():
        connection.execute("BEGIN IMMEDIATE")
        if settlements:
            connection.executemany(SETTLE, settlements)
        claimed = connection.execute(CLAIM, (time.time(), 0 if stopped() else batch)).fetchall()
        connection.execute("COMMIT")
        settlements = []
        for seq, token, payload in claimed:
            result = await jobs.arun(*decode(payload))
            settlements.append((encode(result), time.time(), seq, token))
        await asyncio.sleep(0 if claimed else PAUSE)


def wake(url: str, payload: bytes) -> None:
    """SQLite has no wake-up of its own: a named pipe is what the system offers."""
    os.write(_pipe(url), payload + b"\n")


async def hear(url: str, stop: asyncio.Event) -> None:
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, _reading(url))
    await until(stop, _hear(reader))
    transport.close()


async def _hear(reader: asyncio.StreamReader) -> None:
    async for line in reader:
        await jobs.arun(*decode(line))


def _reading(url: str) -> BinaryIO:
    return cast("BinaryIO", open(_pipe(url), "rb", buffering=0))  # closed with its transport


@cache
def _pipe(url: str) -> int:
    path = f"{url.removeprefix('sqlite:///')}.heard"
    with suppress(FileExistsError):
        os.mkfifo(path)
    # Open for both ways: it does not end with the last writer.
    return os.open(path, os.O_RDWR | os.O_NONBLOCK)


def _id() -> str:
    """One that nobody can guess and that sorts by time, as a UUID of version 7 does."""
    return f"{time.time_ns():016x}{os.urandom(10).hex()}"


@cache
def _opened(url: str) -> sqlite3.Connection:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=30)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -8000")
    return connection
