"""What the SQLite broker stores: tables made by numbered migrations, and rows read back as records."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from backburner.brokers import flaws
from backburner.brokers.sql import migrations
from backburner.errors import SchemaError
from backburner.job import NO_OPTIONS, JobRecord
from backburner.lifecycle import RUNNING, State

PACKAGE = "backburner.brokers.sqlite"
VERSION = migrations(PACKAGE)[-1].number
TICKS = 2**22
"""In a second: what a time after 2004 is a multiple of, as a number of 64 bits."""

_states = {str(state): state for state in State}


def record(row: tuple[Any, ...]) -> JobRecord:
    """One row of the `record` columns, which are the fields of a record in their order."""
    try:
        job = JobRecord(*row)  # by position: by name it would take ten times as long, a microsecond a job
        job.state = _states[row[5]]
        job.cancel_requested = bool(row[18])
        job.options = flaws.options(row[21])
    except flaws.DAMAGE:
        return _salvaged(row)
    return job if flaws.sound(job) else _salvaged(row)


def claimed(text: str, worker: str, now: float) -> list[JobRecord]:
    """The answer of `claimed`. Raises `flaws.DAMAGE` when one of them is to be looked at more closely."""
    if flaws.NO_TEXT in text:
        raise ValueError("some of it was no UTF-8")
    jobs = []
    for (
        job_id,
        task,
        payload,
        queue,
        priority,
        created_at,
        run_at,
        expires_at,
        attempt,
        token,
        crashes,
        reason,
        key,
        cancel_requested,
        checkpoint,
        options,
        seq,
    ) in _claimed(text):
        job = JobRecord(
            job_id,
            task,
            payload.encode(),
            queue,
            priority,
            RUNNING,
            created_at / TICKS,
            run_at / TICKS,
            None if expires_at is None else expires_at / TICKS,
            attempt,
            token,
            crashes,
            worker,
            now,
            None,
            None,
            reason,
            key,
            bool(cancel_requested),
            None,
            None if checkpoint is None else checkpoint.encode(),
            flaws.options(options),
            seq,
        )
        if not flaws.sound(job):
            raise ValueError("one of them is not sound")
        jobs.append(job)
    return jobs


_claimed = msgspec.json.Decoder(
    list[
        tuple[
            str,
            str,
            str,
            str,
            int,
            int,
            int,
            int | None,
            int,
            int,
            int,
            str | None,
            str | None,
            int,
            str | None,
            str | None,
            int,
        ]
    ]
).decode


def _salvaged(row: tuple[Any, ...]) -> JobRecord:
    return flaws.salvaged(dict(zip(JobRecord.__struct_fields__, row, strict=False)), row[22])


def readable(text: bytes) -> str:
    """A text that may be no UTF-8."""
    return text.decode(errors="replace")


def adopted(job: JobRecord) -> dict[str, Any]:
    """The values of the statement `adopt`."""
    values = {name: getattr(job, name) for name in job.__struct_fields__}
    return {**values, "options": None if job.options == NO_OPTIONS else msgspec.json.encode(job.options)}


def version(connection: sqlite3.Connection | sqlite3.Cursor) -> int:
    """The schema's version; 0 where there is none."""
    table = "SELECT 1 FROM sqlite_master WHERE name = 'backburner_schema'"
    if connection.execute(table).fetchone() is None:
        return 0
    found: int = connection.execute("SELECT max(number) FROM backburner_schema").fetchone()[0]
    return found


def migrate(connection: sqlite3.Connection, path: str) -> list[str]:
    """Bring the schema up to date; the names of the migrations applied. Two at once are safe.

    Raises `SchemaError` for one that is newer than this package.
    """
    applied = []
    connection.execute("BEGIN IMMEDIATE")
    try:
        current = version(connection)
        if current > VERSION:
            raise _newer(current, path)
        if current == 0:
            connection.execute(
                "CREATE TABLE backburner_schema (number INTEGER PRIMARY KEY, name TEXT) STRICT"
            )
        for migration in migrations(PACKAGE):
            if migration.number > current:
                _execute_script(connection, migration.script)
                connection.execute("INSERT INTO backburner_schema VALUES (?, ?)", migration[:2])
                applied.append(migration.name)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return applied


def check(connection: sqlite3.Connection, path: str) -> None:
    """Make the schema in a new file; refuse one of another version with a `SchemaError`."""
    found = version(connection)
    if found == 0:
        migrate(connection, path)
    elif found < VERSION:
        raise SchemaError(
            f"{path} has schema {found} and this version needs {VERSION}: run `backburner migrate --url sqlite:///{path}`"
        )
    elif found > VERSION:
        raise _newer(found, path)


def _newer(found: int, path: str) -> SchemaError:
    return SchemaError(
        f"{path} has schema {found}, made by a newer Backburner; this one knows {VERSION}: "
        "upgrade the package"
    )


def _execute_script(connection: sqlite3.Connection, script: str) -> None:
    # Connection.executescript would commit the transaction that makes a migration all or nothing.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
