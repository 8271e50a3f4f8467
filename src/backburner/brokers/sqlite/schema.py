"""What the SQLite broker stores: tables made by numbered migrations, and rows read back as records."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from backburner.brokers.sql import migrations
from backburner.errors import SchemaError
from backburner.job import NO_OPTIONS, JobRecord, Options
from backburner.lifecycle import State

PACKAGE = "backburner.brokers.sqlite"
VERSION = migrations(PACKAGE)[-1].number

_options = msgspec.json.Decoder(Options)
_states = {str(state): state for state in State}


def record(row: tuple[Any, ...]) -> JobRecord:
    """One row of the `record` columns."""
    return JobRecord(
        id=row[1],
        task=row[2],
        payload=row[3],
        queue=row[4],
        priority=row[5],
        state=_states[row[6]],
        created_at=row[7],
        run_at=row[8],
        expires_at=row[9],
        attempt=row[10],
        token=row[11],
        crashes=row[12],
        worker=row[13],
        started_at=row[14],
        finished_at=row[15],
        result=row[16],
        reason=row[17],
        key=row[18],
        cancel_requested=bool(row[19]),
        progress=row[20],
        checkpoint=row[21],
        options=NO_OPTIONS if row[22] is None else _options.decode(row[22]),
    )


def claimed(row: tuple[Any, ...], worker: str, now: float) -> JobRecord:
    """One row of the `claimed` columns, just claimed by `worker`."""
    return JobRecord(
        id=row[1],
        task=row[2],
        payload=row[3],
        queue=row[4],
        priority=row[5],
        state=State.RUNNING,
        created_at=row[6],
        run_at=row[7],
        expires_at=row[8],
        attempt=row[9],
        token=row[10],
        crashes=row[11],
        worker=worker,
        started_at=now,
        reason=row[12],
        key=row[13],
        cancel_requested=bool(row[14]),
        checkpoint=row[15],
        options=NO_OPTIONS if row[16] is None else _options.decode(row[16]),
    )


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
