"""PostgreSQL.

1. One table whose partial indexes hold the waiting and the running jobs. A batch is inserted from arrays.
2. A turn settles one batch with its results, guarded by token, and claims the next with SKIP LOCKED, in one
   transaction and one round trip. A claim starts at the oldest row: nothing is done about the dead ones that
   lie before it, which vacuum removes.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from functools import cache

import psycopg

from bench.bare import PAUSE, Stopped, decode, encode, slices, until
from bench.systems import jobs

SCHEMA = """
CREATE TABLE jobs (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id TEXT NOT NULL UNIQUE, task TEXT NOT NULL,
    queue TEXT NOT NULL, priority INT NOT NULL, state TEXT NOT NULL, payload BYTEA NOT NULL,
    run_at TIMESTAMPTZ NOT NULL DEFAULT now(), token BIGINT NOT NULL DEFAULT 0, worker TEXT,
    started_at TIMESTAMPTZ, finished_at TIMESTAMPTZ, result BYTEA
);
CREATE INDEX jobs_queued ON jobs (queue, priority DESC, seq) WHERE state = 'queued';
CREATE INDEX jobs_running ON jobs (worker) WHERE state = 'running';
"""
INSERT = """
INSERT INTO jobs (id, task, queue, priority, state, payload)
SELECT id, 'noop', 'default', 0, 'queued', payload FROM unnest(%s::text[], %s::bytea[]) AS given (id, payload)
"""
SETTLE = """
UPDATE jobs SET state = 'succeeded', result = given.result, finished_at = now()
FROM unnest(%s::bigint[], %s::bigint[], %s::bytea[]) AS given (seq, token, result)
WHERE jobs.seq = given.seq AND jobs.token = given.token AND jobs.state = 'running'
"""
CLAIM = """
UPDATE jobs SET state = 'running', token = token + 1, worker = 'bare', started_at = now()
WHERE seq IN (
    SELECT seq FROM jobs WHERE state = 'queued' AND queue = 'default'
    ORDER BY priority DESC, seq LIMIT %s FOR UPDATE SKIP LOCKED
)
RETURNING seq, token, payload
"""


def prepare(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(SCHEMA)


def insert(url: str, payloads: Sequence[bytes]) -> None:
    for each in slices(payloads):
        ids = [f"{time.time_ns():016x}{os.urandom(10).hex()}" for _ in each]
        _connection(url).execute(INSERT, (ids, list(each)), prepare=True)


async def work(url: str, batch: int, stopped: Stopped) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        settlements: list[tuple[int, int, bytes]] = []
        while settlements or not stopped():
            async with connection.pipeline(), connection.transaction():
                if settlements:
                    columns = [list(column) for column in zip(*settlements, strict=True)]
                    await connection.execute(SETTLE, columns, prepare=True)
                claims = await connection.execute(CLAIM, (0 if stopped() else batch,), prepare=True)
            claimed = await claims.fetchall()
            settlements = []
            for seq, token, payload in claimed:
                settlements.append((seq, token, encode(await jobs.arun(*decode(payload)))))
            await asyncio.sleep(0 if claimed else PAUSE)


def wake(url: str, payload: bytes) -> None:
    _connection(url).execute("SELECT pg_notify('heard', %s)", [payload.decode()], prepare=True)


async def hear(url: str, stop: asyncio.Event) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("LISTEN heard")
        await until(stop, _hear(connection))


async def _hear(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
    async for notification in connection.notifies():
        await jobs.arun(*decode(notification.payload))


@cache
def _connection(url: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(url, autocommit=True)
