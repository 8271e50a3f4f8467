"""How a test damages what a broker stores, below everything that Backburner checks."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import psycopg
import redis
from msgspec import msgpack

DEEP = 100_000


class Damage(NamedTuple):
    """What is written over a stored job, and what the reason for its quarantine says of it."""

    field: str
    value: Any
    says: str


class Vandal(Protocol):
    damages: Mapping[str, Damage]

    def write(self, job_id: str, field: str, value: Any) -> None: ...


OPTIONS: dict[str, bytes] = {
    "truncated": b'{"tags":["a"',
    "of a wrong type": b'{"timeout":"soon"}',
    "an impossible policy": b'{"retry":{"max_attempts":-1}}',
    "deeply nested": b'{"meta":' + b'{"a":' * DEEP + b"1" + b"}" * (DEEP + 1),
    "a number of 10,000 digits": b'{"timeout":' + b"9" * 10_000 + b"}",
    "a lone surrogate": b'{"tags":["\\ud800"]}',
    "no JSON at all": b"\x01\x02",
    "no object": b"[1,2]",
}
"""What a job's options may be instead of options."""
PAYLOADS: dict[str, bytes] = {
    "truncated arguments": b"[1",
    "deeply nested arguments": b"[" * DEEP + b"]" * DEEP,
    "an argument of 10,000 digits": b"[" + b"9" * 10_000 + b"]",
    "an argument of 10 MB": b'["' + b"x" * 10_000_000 + b'"]',
    "arguments that are an object": b'{"no_such":1}',
    "a lone surrogate among the arguments": b'["\\ud800"]',
    "no arguments": b"",
}
"""What its arguments may be. That is told when they are read, like arguments that do not fit."""
NO_TEXT = {"bytes that are no UTF-8": b'{"tags":["\xff\xfe"]}'}


def everything(fields: Mapping[str, Damage], *, text_only: bool) -> dict[str, Damage]:
    options = OPTIONS if text_only else OPTIONS | NO_TEXT
    payloads = PAYLOADS if text_only else PAYLOADS | {"arguments that are no UTF-8": b'["\xff"]'}
    return {
        **{f"options: {name}": Damage("options", value, "options: ") for name, value in options.items()},
        **{name: Damage("payload", value, "arguments do not fit") for name, value in payloads.items()},
        **fields,
    }


class SqliteVandal:
    """Writes into the file."""

    damages: Mapping[str, Damage] = everything(
        {
            "due at infinity": Damage("run_at", float("-inf"), "run_at: -inf is no time"),
            "made at infinity": Damage("created_at", float("inf"), "created_at: inf is no time"),
            "attempts beyond all": Damage("attempt", 2**63 - 1, "attempt: nobody has counted that far"),
            "claims beyond all": Damage("token", 2**63 - 1, "token: nobody has counted that far"),
            "crashes beyond all": Damage("crashes", 2**63 - 1, "crashes: nobody has counted that far"),
            "a task that is no UTF-8": Damage("task", b"\xff\xfe", "was no UTF-8"),
        },
        text_only=False,
    )

    def __init__(self, url: str) -> None:
        self._path = url.removeprefix("sqlite:///")

    def write(self, job_id: str, field: str, value: Any) -> None:
        kind = "TEXT" if field in ("task", "state", "reason") else "BLOB"
        wanted = f"CAST(? AS {kind})" if isinstance(value, bytes) else "?"
        with sqlite3.connect(self._path) as connection:
            connection.execute(f"UPDATE backburner_jobs SET {field} = {wanted} WHERE id = ?", (value, job_id))
        connection.close()


class PostgresVandal:
    """Writes into the table."""

    damages: Mapping[str, Damage] = everything(
        {
            "due at no time": Damage("run_at", float("nan"), "run_at: nan is no time"),
            "made at infinity": Damage("created_at", float("inf"), "created_at: inf is no time"),
            "attempts beyond all": Damage("attempt", 2**31 - 1, "attempt: nobody has counted that far"),
            "claims beyond all": Damage("token", 2**31 - 1, "token: nobody has counted that far"),
            "crashes beyond all": Damage("crashes", 2**31 - 1, "crashes: nobody has counted that far"),
        },
        text_only=True,
    )

    def __init__(self, url: str) -> None:
        self._server = url.partition("?")[0]

    def write(self, job_id: str, field: str, value: Any) -> None:
        value = value.decode() if isinstance(value, bytes) else value
        with psycopg.connect(self._server) as connection:
            connection.execute(f"UPDATE store.jobs SET {field} = %s WHERE id = %s", (value, job_id))


STATE = ("state", "seq", "created_at", "run_at", "expires_at", "attempt", "token", "crashes")
CHANGES = "what changes of it: "


class RedisVandal:
    """Writes into the hash of a job: `h` is its head, `s` what changes (`scripts/job.lua`)."""

    damages: Mapping[str, Damage] = everything(
        {
            "a truncated head": Damage("h", b"\x94\xa4go", "its head: "),
            "a head of other types": Damage("h", msgpack.encode((1, 2, "3", [])), "its head: "),
            "a deeply nested head": Damage("h", b"\x91" * DEEP, "its head: "),
            "no head": Damage("h", None, "its head: "),
            "a task that is no UTF-8": Damage("h", b"\x94\xa2\xff\xfe\xa7default\x00\xc0", "its head: "),
            "truncated numbers": Damage("s", b"\x9e\xa6queu", CHANGES),
            "numbers of other types": Damage("s", msgpack.encode([["queued"]] * 14), CHANGES),
            "deeply nested numbers": Damage("s", b"\x91" * DEEP, CHANGES),
            "no numbers": Damage("s", None, CHANGES),
            "due at no time": Damage("run_at", float("nan"), CHANGES),
            "made at infinity": Damage("created_at", float("inf"), CHANGES),
            "half a claim": Damage("token", 0.5, CHANGES),
            "attempts beyond all": Damage("attempt", 10**10, "attempt: nobody has counted that far"),
            "claims beyond all": Damage("token", 10**10, "token: nobody has counted that far"),
            "crashes that are a text": Damage("crashes", "7", "crashes: Expected `int`"),
            "an expiry that is a list": Damage("expires_at", [1], "expires_at: Expected `float"),
            "no hash at all": Damage("", b"text", "its head: "),
        },
        text_only=False,
    )

    def __init__(self, url: str) -> None:
        server, _, prefix = url.partition("?prefix=")
        self._client = redis.Redis.from_url(server)
        self._prefix = f"{{{prefix}}}:job:"

    def write(self, job_id: str, field: str, value: Any) -> None:
        key = self._prefix + job_id
        field = {"options": "o", "payload": "p"}.get(field, field)
        if field in STATE:
            numbers = msgpack.decode(self._client.hget(key, "s"))  # type: ignore[arg-type]
            numbers[STATE.index(field)] = value
            field, value = "s", msgpack.encode(numbers)
        if not field:
            self._client.set(key, value)
        elif value is None:
            self._client.hdel(key, field)
        else:
            self._client.hset(key, field, value)
        self._client.close()
