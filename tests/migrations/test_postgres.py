"""How the schema of PostgreSQL grows: one of any version becomes what a new one is, with its jobs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from threading import Barrier
from typing import Any

import psycopg
import pytest

from backburner.brokers.postgres import schema
from backburner.brokers.postgres.broker import PostgresBroker
from backburner.brokers.sql import migrations
from backburner.errors import SchemaError
from backburner.job import JobRecord
from tests.servers.postgres import PostgresServer

FUTURE = "ALTER TABLE {schema}.jobs ADD COLUMN colour text DEFAULT 'red; or not';  -- of the future"
STEPS = [step.name for step in migrations(schema.PACKAGE)]


@pytest.fixture
def name(postgres_server: PostgresServer) -> Iterator[str]:
    name = f"migrated_{os.getpid()}"
    yield name
    run(postgres_server, f"DROP SCHEMA IF EXISTS {name} CASCADE")


def run(server: PostgresServer, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def shape(server: PostgresServer, name: str) -> list[tuple[Any, ...]]:
    """Every column, index and function, without the name of the schema."""
    found = run(
        server,
        f"""
        SELECT table_name, column_name, data_type, column_default FROM information_schema.columns
        WHERE table_schema = '{name}'
        UNION ALL
        SELECT indexname, indexdef, '', '' FROM pg_indexes WHERE schemaname = '{name}'
        UNION ALL
        SELECT proname, pg_get_functiondef(oid), '', '' FROM pg_proc
        WHERE pronamespace = '{name}'::regnamespace
        ORDER BY 1, 2
        """,
    )
    return [tuple(str(part).replace(name, "SCHEMA") for part in row) for row in found]


def broker(server: PostgresServer, name: str) -> PostgresBroker:
    return PostgresBroker(f"{server.url()}?schema={name}")


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package as it may be one day: with one migration more."""
    package = tmp_path / "packages" / "backburner_of_another_future"
    shutil.copytree(str(files(schema.PACKAGE) / "migrations"), package / "migrations")
    shutil.copy(str(files(schema.PACKAGE) / "queries.sql"), package)
    (package / "__init__.py").touch()
    number = schema.VERSION + 1
    (package / "migrations" / f"{number:04}_colour.sql").write_text(FUTURE)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(schema, "PACKAGE", package.name)
    monkeypatch.setattr(schema, "VERSION", number)
    sys.modules.pop(package.name, None)


def test_the_first_use_makes_the_schema(postgres_server: PostgresServer, name: str) -> None:
    new = broker(postgres_server, name)
    assert not new.exists()
    assert new.run(new.queues()) == []
    assert new.exists()
    assert new.migrate() == []
    new.close()


def test_from_zero_it_is_the_sum_of_the_migrations(postgres_server: PostgresServer, name: str) -> None:
    run(postgres_server, f"CREATE SCHEMA {name}")
    for step in migrations(schema.PACKAGE):
        script = step.script.replace("{schema}", f'"{name}"').replace("{channel}", schema.channel(name))
        run(postgres_server, script)
    by_hand = shape(postgres_server, name)
    run(postgres_server, f"DROP SCHEMA {name} CASCADE")
    assert broker(postgres_server, name).migrate() == STEPS
    made = [row for row in shape(postgres_server, name) if not row[0].startswith("migrations")]
    assert made == by_hand


def test_many_who_come_at_once_make_one_schema(postgres_server: PostgresServer, name: str) -> None:
    together = Barrier(4)

    def come(_: int) -> list[str]:
        together.wait(30)
        return broker(postgres_server, name).migrate()

    with ThreadPoolExecutor(4) as threads:
        applied = list(threads.map(come, range(4)))
    assert sorted(applied) == [[], [], [], STEPS]


@pytest.mark.usefixtures("next_version")
def test_an_old_schema_is_refused_until_it_is_migrated_and_keeps_its_jobs(
    postgres_server: PostgresServer, name: str
) -> None:
    script = "".join(step.script for step in migrations(schema.PACKAGE)[:-1])
    script = script.replace("{schema}", f'"{name}"').replace("{channel}", schema.channel(name))
    run(postgres_server, f"CREATE SCHEMA {name}; CREATE TABLE {name}.migrations (number int, name text)")
    run(postgres_server, script)
    run(postgres_server, f"INSERT INTO {name}.migrations VALUES ({schema.VERSION - 1}, 'the last')")
    run(postgres_server, f"SELECT {name}.enqueue(NULL, '[{JOB}]', false)")
    new = broker(postgres_server, name)
    with pytest.raises(SchemaError, match="run `backburner migrate`"):
        new.run(new.queues())
    assert new.migrate() == ["colour"]
    [job] = new.run(new.get(["j"]))
    assert (job.id, job.task) == ("j", "t")
    new.close()


JOB = '{"id": "j", "task": "t", "payload": "[]", "queue": "q", "priority": 0}'


def test_workers_go_on_while_and_after_a_newer_version_migrates(
    postgres_server: PostgresServer, name: str, request: pytest.FixtureRequest
) -> None:
    old = broker(postgres_server, name)
    old.run(old.enqueue([JobRecord("before", "t")], {}))
    request.getfixturevalue("next_version")
    new = broker(postgres_server, name)
    assert new.migrate() == ["colour"]
    old.run(old.enqueue([JobRecord("after", "t")], {}))
    assert {job.id for job in old.run(old.get(["before", "after"]))} == {"before", "after"}
    old.close()
    new.close()


def test_a_schema_of_a_newer_version_is_refused(postgres_server: PostgresServer, name: str) -> None:
    first = broker(postgres_server, name)
    first.migrate()
    run(postgres_server, f"INSERT INTO {name}.migrations VALUES ({schema.VERSION + 1}, 'future')")
    for act in (first.migrate, lambda: first.run(first.queues())):
        with pytest.raises(SchemaError, match=r"newer Backburner.*upgrade the package"):
            act()
    first.close()


def test_who_may_not_make_a_schema_is_told_the_sql_for_who_may(
    postgres_server: PostgresServer, name: str
) -> None:
    run(postgres_server, "CREATE ROLE guest LOGIN")
    run(postgres_server, "REVOKE CREATE ON DATABASE postgres FROM PUBLIC")
    guest = PostgresBroker(f"{postgres_server.url()}?schema={name}".replace("postgres@", "guest@"))
    try:
        with pytest.raises(SchemaError, match=f'CREATE SCHEMA "{name}" AUTHORIZATION "guest";'):
            guest.run(guest.queues())
        run(postgres_server, f'CREATE SCHEMA "{name}" AUTHORIZATION "guest"')
        assert guest.run(guest.queues()) == []
    finally:
        guest.close()
        run(postgres_server, "DROP OWNED BY guest; DROP ROLE guest")
