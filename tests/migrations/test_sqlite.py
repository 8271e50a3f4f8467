"""How the schema of SQLite grows: a file of any version becomes what a new one is, with its jobs."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from threading import Barrier

import pytest

from backburner.brokers.sql import Migration, migrations
from backburner.brokers.sqlite import schema
from backburner.brokers.sqlite.broker import SqliteBroker
from backburner.errors import SchemaError
from backburner.job import JobRecord

FUTURE = """
ALTER TABLE backburner_jobs ADD COLUMN colour TEXT;  -- of the future; with a semicolon
CREATE TRIGGER backburner_paint AFTER INSERT ON backburner_jobs BEGIN
    UPDATE backburner_jobs SET colour = 'red' WHERE seq = new.seq;
    UPDATE backburner_queues SET paused = 0 WHERE name = 'never';
END;
"""


def connect(path: Path | str) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(path, isolation_level=None))


def shape(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Every table, index and trigger with its SQL."""
    found = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
    return [(name, " ".join(sql.split())) for name, sql in connection.execute(found)]


def apply(connection: sqlite3.Connection, steps: list[Migration]) -> None:
    """As the version of that time did it, by hand."""
    connection.execute("CREATE TABLE backburner_schema (number INTEGER PRIMARY KEY, name TEXT) STRICT")
    for step in steps:
        connection.executescript(step.script)
        connection.execute("INSERT INTO backburner_schema VALUES (?, ?)", step[:2])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package as it may be one day: with one migration more. Gives the file of that migration."""
    package = tmp_path / "packages" / "backburner_of_the_future"
    shutil.copytree(str(files(schema.PACKAGE) / "migrations"), package / "migrations")
    (package / "__init__.py").touch()
    new = package / "migrations" / f"{schema.VERSION + 1:04}_colour.sql"
    new.write_text(FUTURE)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(schema, "PACKAGE", package.name)
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    yield new
    sys.modules.pop(package.name, None)


def test_migrations_are_numbered_without_a_gap() -> None:
    found = migrations(schema.PACKAGE)
    assert [step.number for step in found] == list(range(1, schema.VERSION + 1))
    assert len({step.name for step in found}) == len(found)


@pytest.mark.parametrize("start", range(schema.VERSION))
def test_a_file_of_any_version_becomes_what_a_new_one_is(path: Path, start: int) -> None:
    steps = migrations(schema.PACKAGE)
    with connect(path) as old, connect(":memory:") as new:
        if start:
            apply(old, steps[:start])
        assert schema.migrate(old, str(path)) == [step.name for step in steps[start:]]
        schema.migrate(new, "new")
        assert shape(old) == shape(new)
        assert schema.version(old) == schema.version(new) == schema.VERSION
        assert schema.migrate(old, str(path)) == []


def test_the_sum_of_the_migrations_is_the_schema_from_zero(path: Path) -> None:
    with connect(path) as by_hand, connect(":memory:") as new:
        apply(by_hand, migrations(schema.PACKAGE))
        schema.migrate(new, "new")
        assert shape(by_hand) == shape(new)


@pytest.mark.usefixtures("next_version")
def test_an_older_file_asks_for_a_migration_and_keeps_its_jobs(path: Path) -> None:
    with connect(path) as old:
        apply(old, migrations(schema.PACKAGE)[:-1])
        old.execute(
            "INSERT INTO backburner_jobs (id, task, queue, priority, state, payload, created_at, run_at)"
            " VALUES ('old', 't', 'default', 0, 'queued', x'5b5d', 1, 1)"
        )
    with closing(SqliteBroker(f"sqlite:///{path}")) as broker:
        with pytest.raises(SchemaError, match=f"run `backburner migrate --url sqlite:///{path}`"):
            broker.run(broker.get(["old"]))
        assert broker.migrate() == ["colour"]
        assert broker.run(broker.get(["old"]))[0].payload == b"[]"
        broker.run(broker.enqueue([JobRecord(id="new", task="t")], {}))
    with connect(path) as found:
        assert found.execute("SELECT id, colour FROM backburner_jobs ORDER BY seq").fetchall() == [
            ("old", None),
            ("new", "red"),
        ]


@pytest.mark.usefixtures("next_version")
def test_a_program_that_goes_on_meanwhile_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(SqliteBroker(f"sqlite:///{path}")) as broker:
        assert broker.migrate() == [step.name for step in migrations(schema.PACKAGE)]
        monkeypatch.setattr(schema, "VERSION", schema.VERSION - 1)
        with pytest.raises(SchemaError, match="made by a newer Backburner"):
            broker.run(broker.get(["x"]))


def test_a_migration_that_fails_changes_nothing(path: Path, next_version: Path) -> None:
    next_version.write_text(FUTURE + "\nCREATE TABLE backburner_jobs (oops);\n")
    with connect(path) as old:
        apply(old, migrations(schema.PACKAGE)[:-1])
        before = shape(old)
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            schema.migrate(old, str(path))
        assert shape(old) == before
        assert schema.version(old) == schema.VERSION - 1


@pytest.mark.usefixtures("next_version")
@pytest.mark.parametrize("start", [0, 1])
def test_of_many_who_migrate_at_once_one_does_it(path: Path, start: int) -> None:
    if start:
        with connect(path) as old:
            apply(old, migrations(schema.PACKAGE)[:start])
    together = Barrier(6)

    def migrate(_: int) -> list[str]:
        with closing(SqliteBroker(f"sqlite:///{path}")) as broker:
            together.wait(30)
            return broker.migrate()

    with ThreadPoolExecutor(6) as threads:
        applied = [names for names in threads.map(migrate, range(6)) if names]
    assert applied == [[step.name for step in migrations(schema.PACKAGE)][start:]]


def test_the_tables_of_another_program_are_left_alone(path: Path) -> None:
    with connect(path) as own:
        own.execute("CREATE TABLE users (id)")
        own.execute("INSERT INTO users VALUES (1)")
        with closing(SqliteBroker(f"sqlite:///{path}")) as broker:
            broker.run(broker.enqueue([JobRecord(id="new", task="t")], {}))
        assert own.execute("SELECT id FROM users").fetchall() == [(1,)]
        assert {name.split("_")[0] for name, _ in shape(own)} == {"users", "backburner"}
