"""What `backburner doctor` says of a database. It changes nothing, and trouble is an answer, no error.

1. Can it be reached, is it new enough, has it the schema of this version? If not, the rest is moot.
2. Is a commit durable there, and may it be written?
3. Can vacuum keep up: is it on, how many dead rows are there, and does an old snapshot hold it back?
4. Are there connections left?
5. Do wake-ups come through, and who waits for them?
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg

from backburner.brokers.postgres import schema
from backburner.brokers.postgres.address import Address
from backburner.brokers.postgres.errors import translation
from backburner.brokers.postgres.listener import PROBE
from backburner.brokers.postgres.session import ANSWER, Session, connect, readable
from backburner.doctor import Check, Level
from backburner.errors import BackburnerError
from backburner.words import plural, span

OLD = 300.0
"""Seconds from which on a snapshot counts as old."""
DEAD_ROWS = 100_000
FEW = 0.9
"""The part of the connections from which on there are few left."""


def checkup(address: Address) -> list[Check]:
    """Every check of the database at `address`, as far as they got."""
    checks: list[Check] = []
    try:
        with closing(connect(address.conninfo, 4 * ANSWER)) as session:
            checks += [*_server(session), *_schema(session, address.schema)]
            if all(check.level is Level.OK for check in checks):
                checks += _durable(session)
                checks += _vacuum(session, address.schema)
                checks += _snapshots(session)
                checks += _connections(session)
                checks += _wakes(session, address)
    except psycopg.Error as error:
        checks.append(Check(Level.FAIL, str(translation(error, address.place))))
    return checks


def _rows(session: Session, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    return session.execute(statement.encode(), values, prepare=False).fetchall()


def _server(session: Session) -> Iterator[Check]:
    try:
        schema.check_server(session)
    except BackburnerError as error:
        yield Check(Level.FAIL, str(error))
    else:
        number = session.info.server_version
        yield Check(Level.OK, f"PostgreSQL {number // 10000}.{number % 10000} answers")


def _schema(session: Session, name: str) -> Iterator[Check]:
    found = schema.version(session, name)
    if found == schema.VERSION:
        yield Check(Level.OK, f"schema {name} is of this version, {found}")
    elif found > schema.VERSION:
        yield Check(
            Level.FAIL,
            f"schema {name} is of version {found}, made by a newer Backburner; this knows {schema.VERSION}",
            "upgrade the package",
        )
    else:
        state = (
            f"schema {name} is of version {found}, which is old" if found else f"there is no schema {name}"
        )
        yield Check(Level.FAIL, state, "backburner migrate --url URL")


def _durable(session: Session) -> Iterator[Check]:
    settings = dict(
        _rows(
            session,
            "SELECT name, setting FROM pg_settings "
            "WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'transaction_read_only')",
        )
    )
    for setting in ("fsync", "full_page_writes"):
        if settings[setting] == "off":
            yield Check(
                Level.FAIL,
                f"{setting} is off: when the machine fails, the whole database may be lost",
                f"set {setting} = on",
            )
    if settings["synchronous_commit"] == "off":
        yield Check(
            Level.WARN,
            "synchronous_commit is off: when the server fails, the jobs of its last second are lost",
            "set synchronous_commit = on, at least for this role",
        )
    if _rows(session, "SELECT pg_is_in_recovery()")[0][0]:
        yield Check(Level.FAIL, "this server is a standby and takes no writes", "name the primary in the URL")
    elif settings["transaction_read_only"] == "on":
        yield Check(Level.FAIL, "default_transaction_read_only is on for this role", "switch it off")
    else:
        yield Check(Level.OK, "it takes writes, and a commit is on disk when it returns")


def _vacuum(session: Session, name: str) -> Iterator[Check]:
    if _rows(session, "SHOW autovacuum")[0][0] == "off":
        yield Check(Level.FAIL, "autovacuum is off: the tables grow without end", "set autovacuum = on")
    [(dead, live, size)] = _rows(
        session,
        "SELECT n_dead_tup, n_live_tup, pg_total_relation_size(relid) FROM pg_stat_user_tables "
        "WHERE schemaname = %s AND relname = 'jobs'",
        name,
    )
    text = f"{live:,} live and {dead:,} dead rows of jobs in {size / 1e6:,.1f} MB"
    if dead > max(DEAD_ROWS, live):
        yield Check(
            Level.WARN,
            text,
            "see below what holds vacuum back; if nothing does, give autovacuum more workers",
        )
    else:
        yield Check(Level.OK, text)


def _snapshots(session: Session) -> Iterator[Check]:
    rows = _rows(
        session,
        "SELECT pid, coalesce(application_name, ''), state, "
        "       extract(epoch FROM clock_timestamp() - xact_start)::float8 "
        "FROM pg_stat_activity WHERE backend_xmin IS NOT NULL AND datname = current_database() "
        "  AND pid <> pg_backend_pid() AND xact_start < clock_timestamp() - make_interval(secs => %s) "
        "ORDER BY xact_start LIMIT 1",
        OLD,
    )
    slots = _rows(session, "SELECT slot_name FROM pg_replication_slots WHERE NOT active AND xmin IS NOT NULL")
    for pid, application, state, age in rows:
        yield Check(
            Level.WARN,
            f"session {pid} ({application or 'unnamed'}, {state}) has held a snapshot for {span(age)}: "
            "vacuum cannot remove what has died since",
            f"end its transaction, or SELECT pg_terminate_backend({pid})",
        )
    for (slot,) in slots:
        yield Check(
            Level.WARN,
            f"replication slot {slot} holds vacuum back and nobody uses it",
            f"SELECT pg_drop_replication_slot('{slot}')",
        )
    if not rows and not slots:
        yield Check(Level.OK, "nothing holds vacuum back")


def _connections(session: Session) -> Iterator[Check]:
    [(used, most)] = _rows(
        session,
        "SELECT count(*), current_setting('max_connections')::int FROM pg_stat_activity "
        "WHERE backend_type = 'client backend'",
    )
    text = f"{used} of {most} connections are in use"
    if used > FEW * most:
        yield Check(Level.WARN, text, "raise max_connections, or put PgBouncer in between")
    else:
        yield Check(Level.OK, text)


def _wakes(session: Session, address: Address) -> Iterator[Check]:
    channel = f"{schema.channel(address.schema)}:{os.urandom(4).hex()}"
    with closing(connect(address.listen, ANSWER)) as listener:
        listener.execute(f'LISTEN "{channel}"'.encode())
        _rows(session, "SELECT pg_notify(%s, 'probe')", channel)
        heard = bool(readable([listener.fileno()], PROBE))
    if heard:
        [(waiting,)] = _rows(
            session,
            f'SELECT count(DISTINCT (channel, waiter)) FROM "{address.schema}".waiting '  # noqa: S608
            "WHERE until > clock_timestamp()",
        )
        yield Check(Level.OK, f"wake-ups come through; {plural(waiting, 'waiter waits', 'waiters wait')}")
    else:
        yield Check(
            Level.WARN,
            "wake-ups do not come through a pooler in transaction mode: they are polled for",
            "give a direct URL for listening, as in ?listen=postgresql%3A%2F%2FHOST%2FDATABASE",
        )
