"""What the PostgreSQL broker stores: a schema made by numbered migrations, and rows read back as records."""

from __future__ import annotations

from typing import Any

import psycopg

from backburner.brokers import flaws
from backburner.brokers.sql import migrations
from backburner.errors import BrokerError, SchemaError
from backburner.job import JobRecord
from backburner.lifecycle import State

PACKAGE = "backburner.brokers.postgres"
VERSION = migrations(PACKAGE)[-1].number
OLDEST_SERVER = 130000

_states = {str(state): state for state in State}

Connection = psycopg.Connection[tuple[Any, ...]]


def record(row: tuple[Any, ...]) -> JobRecord:
    """One row of the `record` columns, which are the fields of a record in their order."""
    try:
        job = _read(row)
    except flaws.DAMAGE:
        return _salvaged(row)
    return job if flaws.sound(job) else _salvaged(row)


def _read(row: tuple[Any, ...]) -> JobRecord:
    job = JobRecord(*row)  # by position: by name it would take ten times as long, a microsecond a job
    job.payload = row[2].encode()
    job.state = _states[row[5]]
    if row[15] is not None:
        job.result = row[15].encode()
    if row[19] is not None:
        job.progress = row[19].encode()
    if row[20] is not None:
        job.checkpoint = row[20].encode()
    job.options = flaws.options(row[21])
    return job


def _salvaged(row: tuple[Any, ...]) -> JobRecord:
    fields = dict(zip(JobRecord.__struct_fields__, row, strict=False))
    for name in ("payload", "result", "progress", "checkpoint"):
        fields[name] = fields[name] and fields[name].encode()
    return flaws.salvaged(fields, row[22])


def channel(name: str) -> str:
    """The channel on which all processes of an app listen."""
    return f"backburner:{name}"


def _named(statement: str, name: str) -> bytes:
    """`address.py` has seen to it that the name needs no more than quotes."""
    return statement.replace("{schema}", f'"{name}"').replace("{channel}", channel(name)).encode()


def version(connection: Connection, name: str) -> int:
    """The schema's version; 0 where there is none.

    Looked up as a row, which each statement sees as it is. `to_regclass` answers from what a session
    remembers, which may be why one of two workers that began at once made a table that was there already.
    """
    found = connection.execute(
        "SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE nspname = %s AND relname = 'migrations'",
        [name],
    ).fetchone()
    if found is None:
        return 0
    row = connection.execute(
        _named("SELECT coalesce(max(number), 0) FROM {schema}.migrations", name)
    ).fetchone()
    return 0 if row is None else int(row[0])


def migrate(connection: Connection, name: str) -> list[str]:
    """Bring the schema up to date; the names of the migrations applied. Two at once are safe.

    Raises `SchemaError` for one that is newer than this package, and where this role may not make one.
    """
    applied = []
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"backburner {name}"])
        current = version(connection, name)
        if current > VERSION:
            raise _newer(current, name)
        try:
            if current == 0:
                if connection.execute("SELECT to_regnamespace(%s)", [f'"{name}"']).fetchone() == (None,):
                    connection.execute(f'CREATE SCHEMA "{name}"')
                connection.execute(
                    f'CREATE TABLE "{name}".migrations (number integer PRIMARY KEY, name text)'
                )
            for migration in migrations(PACKAGE):
                if migration.number > current:
                    connection.execute(_named(migration.script, name))
                    connection.execute(
                        _named("INSERT INTO {schema}.migrations VALUES (%s, %s)", name), migration[:2]
                    )
                    applied.append(migration.name)
        except psycopg.errors.InsufficientPrivilege as error:
            role = connection.info.user
            raise SchemaError(
                f"the role {role} may not make the schema {name}: let one that may say "
                f'CREATE SCHEMA "{name}" AUTHORIZATION "{role}"; ({str(error).strip()})'
            ) from error
    return applied


def check(connection: Connection, name: str) -> None:
    """Make the schema in a new database; refuse one of another version with a `SchemaError`."""
    found = version(connection, name)
    if found == 0:
        migrate(connection, name)
    elif found < VERSION:
        raise SchemaError(
            f"schema {name} is of version {found} and this needs {VERSION}: run `backburner migrate`"
        )
    elif found > VERSION:
        raise _newer(found, name)


def check_server(connection: Connection) -> None:
    """Refuse a server that cannot do what is needed."""
    found, oldest = connection.info.server_version // 10000, OLDEST_SERVER // 10000
    if found < oldest:
        raise BrokerError(
            f"the server is PostgreSQL {found}, and {oldest} is the oldest that will do: upgrade it"
        )
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise BrokerError(f"the database is encoded in {encoding}: create one with ENCODING 'UTF8'")
    # Each look of a function has to see what others have committed meanwhile.
    [(isolation,)] = connection.execute("SHOW transaction_isolation").fetchall()
    if isolation not in {"read committed", "read uncommitted"}:
        role = connection.info.user
        raise BrokerError(
            f"transactions of the role {role} are {isolation}, and Backburner's have to be read committed: "
            f"ALTER ROLE \"{role}\" SET default_transaction_isolation = 'read committed'"
        )


def _newer(found: int, name: str) -> SchemaError:
    return SchemaError(
        f"schema {name} is of version {found}, made by a newer Backburner; "
        f"this one knows {VERSION}: upgrade the package"
    )
