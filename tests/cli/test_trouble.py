"""A database file in trouble: each command says so in one line with the next step, and changes nothing."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from backburner import Backburner
from backburner.brokers.sqlite import database
from backburner.cli import COMMANDS
from tests.brokers.sqlite.conftest import as_somebody
from tests.cli.helpers import Operator

__all__ = ["as_somebody"]

READS = [("stats",), ("jobs",), ("dead",), ("queues",), ("schedules",), ("workers",), ("explain", "1234")]
WRITES = [
    ("enqueue", "shop:app", "shop.clean_up"),
    ("queues", "pause", "default"),
    ("jobs", "cancel", "ID", "--yes"),
    ("dead", "retry", "ID"),
    ("dead", "delete", "--queue", "default", "--yes"),
    ("migrate",),
]


@pytest.fixture
def job(app: Backburner) -> str:
    """The id of a dead letter in `default`."""
    [job] = app.tasks["shop.clean_up"].enqueue_many([()])
    with closing(sqlite3.connect("shop.db")) as connection:
        connection.execute("UPDATE backburner_jobs SET state = 'dead', reason = 'for a test'")
        connection.commit()
    app.close()
    return job.id


def import_all(operator: Operator) -> None:
    """Now, for the interpreter may be where somebody else may not look."""
    for command in COMMANDS:
        operator.read(command, "--help")
    for command in ("jobs", "doctor"):
        operator.type(command)


def filled(command: tuple[str, ...], job: str) -> list[str]:
    return [job if word == "ID" else word for word in command]


@pytest.mark.parametrize("command", [*READS, *WRITES], ids=" ".join)
def test_a_file_of_a_newer_version(
    folder: Path, job: str, operator: Operator, command: tuple[str, ...]
) -> None:
    with closing(sqlite3.connect("shop.db")) as connection:
        connection.execute("INSERT INTO backburner_schema VALUES (99, 'a newer one')")
        connection.commit()
    said = operator.refused(*filled(command, job))
    assert said.startswith(f"{folder}/shop.db has schema 99, made by a newer Backburner; this one knows ")
    assert said.endswith(": upgrade the package")


@pytest.mark.parametrize("command", [*READS, *WRITES], ids=" ".join)
def test_a_file_that_is_no_database(
    folder: Path, job: str, operator: Operator, command: tuple[str, ...]
) -> None:
    for file in folder.glob("shop.db*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    (folder / "shop.db").write_text("This is a text file, and no database at all.\n" * 100)
    said = operator.refused(*filled(command, job))
    assert said.startswith(f"{folder}/shop.db is no SQLite database: name another file, or restore this one")


@pytest.mark.parametrize("command", [("jobs",), ("dead", "export"), ("stats",)], ids=" ".join)
def test_a_file_that_is_corrupt(
    folder: Path, app: Backburner, operator: Operator, command: tuple[str, ...]
) -> None:
    app.tasks["shop.clean_up"].enqueue_many([()] * 200)
    app.close()
    path = folder / "shop.db"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))
    said = operator.refused(*command)
    assert said.startswith(f"{path} is corrupt: stop the workers, then restore it")
    result = operator.type("doctor")
    assert result.exit_code == 1
    assert any(line.startswith("fail  ") and str(path) in line for line in result.stdout.splitlines())


def test_a_file_that_another_program_keeps_locked(
    folder: Path, app: Backburner, job: str, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    with closing(sqlite3.connect("shop.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        for command in WRITES:
            said = operator.refused(*filled(command, job))
            assert said.startswith(f"{folder}/shop.db is locked by another process for too long: end")
        assert operator.json("jobs")[0]["state"] == "dead", "one can look meanwhile"
        result = operator.type("doctor")
        assert result.exit_code == 1
        assert f"{folder}/shop.db is locked by another process" in result.stdout
    assert operator.read("dead", "retry", job) == "retried 1 job\n"


@pytest.mark.parametrize("mode", [0o555, 0o755], ids=["folder-too", "file-alone"])
def test_a_file_that_may_only_be_read(
    folder: Path,
    app: Backburner,
    job: str,
    operator: Operator,
    as_somebody: Callable[[], None],
    mode: int,
) -> None:
    import_all(operator)
    app.close()
    (folder / "shop.db").chmod(0o444)
    folder.chmod(mode)
    as_somebody()
    for command in WRITES:
        said = operator.refused(*filled(command, job))
        assert str(folder / "shop.db") in said
        assert "allow this user to write" in said
    result = operator.type("doctor")
    assert result.exit_code == 1
    assert "allow this user to write" in result.stdout


def test_a_path_that_cannot_be_looked_at(
    folder: Path,
    app: Backburner,
    operator: Operator,
    as_somebody: Callable[[], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import_all(operator)
    app.close()
    too_long = f"sqlite:///{tmp_path}/{'x' * 300}"
    assert f"cannot open {tmp_path}/xxx" in operator.refused("jobs", "--url", too_long)
    assert "File name too long" in operator.type("doctor", "--url", too_long).stdout
    monkeypatch.chdir(tmp_path)
    folder.chmod(0o000)
    as_somebody()
    for command in (*READS, ("migrate",)):
        said = operator.refused(*command)
        assert said.startswith(f"cannot open {folder}/shop.db: create its folder, or allow this user")
    result = operator.type("doctor")
    assert result.exit_code == 1
    assert f"fail  cannot look at {folder}/shop.db: Permission denied" in result.stdout
