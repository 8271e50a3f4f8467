"""Redis.

1. A list of ids that wait, and a hash of payloads. Both are written together.
2. A turn is one script: what was settled goes out of the hash of the running, if the token is right, and
   leaves its result for an hour; the next ids leave the list, and are written down as running.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Sequence
from functools import cache
from typing import Any, cast

import redis
import redis.asyncio

from bench.bare import PAUSE, Stopped, decode, encode, slices, until
from bench.systems import jobs

TURN = """
local batch, token = tonumber(ARGV[1]), ARGV[2]
for at = 3, #ARGV, 2 do
    local id = ARGV[at]
    if redis.call('HGET', 'running', id) == token then
        redis.call('HDEL', 'running', id)
        redis.call('HDEL', 'payloads', id)
        redis.call('SET', 'result:' .. id, ARGV[at + 1], 'EX', 3600)
    end
end
local ids = batch > 0 and redis.call('LPOP', 'waiting', batch) or {}
if not ids or #ids == 0 then return {} end
local running = {}
for _, id in ipairs(ids) do
    running[#running + 1] = id
    running[#running + 1] = token
end
redis.call('HSET', 'running', unpack(running))
return {ids, redis.call('HMGET', 'payloads', unpack(ids))}
"""


def prepare(url: str) -> None:
    """Redis makes what is written."""


def insert(url: str, payloads: Sequence[bytes]) -> None:
    for each in slices(payloads):
        ids = [f"{time.time_ns():016x}{os.urandom(10).hex()}" for _ in each]
        with _client(url).pipeline() as pipeline:
            pipeline.hset("payloads", items=[part for pair in zip(ids, each, strict=True) for part in pair])
            pipeline.rpush("waiting", *ids)
            pipeline.execute()


async def work(url: str, batch: int, stopped: Stopped) -> None:
    async with redis.asyncio.Redis.from_url(url) as client:
        turn = client.register_script(TURN)
        token = os.urandom(8).hex()
        settlements: list[bytes] = []
        while settlements or not stopped():
            claims = 0 if stopped() else batch
            found = cast("Sequence[Any]", await turn(args=[claims, token, *settlements]))
            settlements = []
            for name, payload in zip(*found, strict=True) if found else ():
                settlements += (name, encode(await jobs.arun(*decode(payload))))
            await asyncio.sleep(0 if found else PAUSE)


def wake(url: str, payload: bytes) -> None:
    _client(url).rpush("heard", payload)


async def hear(url: str, stop: asyncio.Event) -> None:
    async with redis.asyncio.Redis.from_url(url) as client:
        await until(stop, _hear(client))


async def _hear(client: redis.asyncio.Redis) -> None:
    while True:
        _, payload = await cast("Awaitable[Any]", client.blpop(["heard"], timeout=0))
        await jobs.arun(*decode(payload))


@cache
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url)
