"""A file in trouble: one clear error that names it and the next step, nothing lost, and on it goes."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from backburner.brokers.sqlite import database
from backburner.brokers.sqlite.broker import SqliteBroker
from backburner.errors import BrokerError, BrokerUnavailable, SchemaError
from tests.brokers.sqlite.conftest import add, connection, ids, new_job


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds a write transaction open."""
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.1)


@pytest.mark.usefixtures("impatient")
def test_a_file_that_another_program_keeps_locked(broker: SqliteBroker, path: Path) -> None:
    first = add(broker).id
    with locked(path):
        with pytest.raises(
            BrokerUnavailable, match=f"{path} is locked .* end what holds a write transaction open"
        ):
            add(broker)
        assert ids(broker) == {first}, "reading goes on"
    assert {first, add(broker).id} == ids(broker)


@pytest.mark.usefixtures("impatient")
async def test_all_who_wait_for_a_locked_file_are_told(broker: SqliteBroker, path: Path) -> None:
    add(broker)
    with locked(path):
        calls = [broker.arun(broker.enqueue([new_job()], {})) for _ in range(10)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in errors} == {BrokerUnavailable}
    assert len(ids(broker)) == 1


def test_a_lock_that_is_let_go_is_waited_for(broker: SqliteBroker, path: Path) -> None:
    add(broker)
    with ThreadPoolExecutor(1) as thread:
        with locked(path):
            call = thread.submit(add, broker)
            assert not call.done()
        assert call.result(30).state == "queued"


@pytest.mark.usefixtures("impatient")
def test_a_new_file_that_another_program_keeps_locked(path: Path) -> None:
    with locked(path):
        broker = SqliteBroker(f"sqlite:///{path}")
        with pytest.raises(BrokerUnavailable, match="is locked"):
            add(broker)
    add(broker)
    broker.close()


@pytest.mark.parametrize("content", [b"This is a text file, and no database at all.\n" * 100, b"\0" * 8192])
def test_a_file_that_is_no_database(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with closing(SqliteBroker(f"sqlite:///{path}")) as broker:
        with pytest.raises(BrokerError, match=f"{path} is no SQLite database: name another file"):
            add(broker)
        assert path.read_bytes() == content
        path.unlink()
        assert add(broker).state == "queued"


def test_a_file_that_is_corrupt(broker: SqliteBroker, path: Path) -> None:
    broker.run(broker.enqueue([new_job(payload=b"x" * 500) for _ in range(200)], {}))
    broker.close()
    backup = path.with_suffix(".backup")
    shutil.copy(path, backup)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    with pytest.raises(BrokerError, match=f"{path} is corrupt: stop the workers, then restore it"):
        for _ in range(10):
            add(broker)
    backup.replace(path)
    for log in (Path(f"{path}-wal"), Path(f"{path}-shm")):
        log.unlink(missing_ok=True)
    assert add(broker).id in ids(broker), "the restored file is opened without a restart"
    assert len(ids(broker)) == 201


def test_a_file_that_is_deleted_under_a_running_program(broker: SqliteBroker, path: Path) -> None:
    """What went to the deleted file was once accepted, and gone."""
    add(broker)
    for file in path.parent.glob("jobs.db*"):
        if file.is_file():
            file.unlink()
    job = add(broker)
    with closing(SqliteBroker(f"sqlite:///{path}")) as other:
        assert ids(other) == {job.id}


def test_a_file_that_another_program_has_made_anew(broker: SqliteBroker, path: Path) -> None:
    """Closing the connection to the deleted file would delete the write-ahead log of the new one."""
    add(broker)
    for file in path.parent.glob("jobs.db*"):
        if file.is_file():
            file.unlink()
    with closing(SqliteBroker(f"sqlite:///{path}")) as other:
        stored = {add(other).id}
        stored |= {add(broker).id, add(other).id}
        with closing(SqliteBroker(f"sqlite:///{path}")) as third:
            assert ids(third) == ids(other) == ids(broker) == stored
            assert connection(third).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    path = tmp_path / "no such folder" / "jobs.db"
    with closing(SqliteBroker(f"sqlite:///{path}")) as broker:
        with pytest.raises(BrokerError, match=f"cannot open {path}: create its folder"):
            add(broker)
        path.parent.mkdir()
        assert add(broker).state == "queued"


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match=f"cannot open {tmp_path}"):
        add(SqliteBroker(f"sqlite:///{tmp_path}"))


@pytest.mark.parametrize("mode", [0o555, 0o755])
def test_a_file_that_may_only_be_read(
    broker: SqliteBroker, path: Path, as_somebody: Callable[[], None], mode: int
) -> None:
    first = add(broker).id
    broker.close()
    path.chmod(0o444)
    path.parent.chmod(mode)
    as_somebody()
    with pytest.raises(
        BrokerError, match=f"({path} is read-only: allow this user to write|cannot open {path})"
    ):
        add(broker)
    if os.geteuid() == 65534:
        os.seteuid(0)
    path.chmod(0o644)
    path.parent.chmod(0o755)
    assert {first, add(broker).id} == ids(broker)


def test_a_file_of_a_newer_version(broker: SqliteBroker, path: Path) -> None:
    job = add(broker)
    connection(broker).execute("INSERT INTO backburner_schema VALUES (99, 'a newer one')")
    broker.close()
    with pytest.raises(
        SchemaError, match=f"{path} has schema 99, made by a newer Backburner.*: upgrade the package"
    ):
        add(broker)
    with closing(sqlite3.connect(path)) as fixed:
        fixed.execute("DELETE FROM backburner_schema WHERE number = 99")
        fixed.commit()
    assert {job.id, add(broker).id} == ids(broker)


def test_a_newer_file_is_not_migrated_either(broker: SqliteBroker) -> None:
    connection(broker).execute("INSERT INTO backburner_schema VALUES (99, 'a newer one')")
    with pytest.raises(SchemaError, match="made by a newer Backburner"):
        broker.migrate()


def test_a_disk_that_is_full(broker: SqliteBroker) -> None:
    first = add(broker).id
    own = connection(broker)
    [pages] = own.execute("PRAGMA page_count").fetchone()
    own.execute(f"PRAGMA max_page_count = {pages}")  # the very error of a full disk
    stored = {first}
    with pytest.raises(BrokerUnavailable, match=r"no space is left for .*: free some; nothing was stored"):
        for _ in range(1000):
            stored.add(add(broker, payload=b"x" * 500).id)
    assert ids(broker) == stored
    with pytest.raises(BrokerUnavailable, match="no space is left"):
        broker.run(broker.enqueue([new_job(payload=b"x" * 500) for _ in range(1000)], {}))
    assert ids(broker) == stored, "a batch that does not fit leaves nothing"
    own.execute("PRAGMA max_page_count = 1000000")
    stored.add(add(broker, payload=b"x" * 500).id)
    assert ids(broker) == stored


async def test_a_full_disk_is_everybodys_trouble_in_a_group(broker: SqliteBroker) -> None:
    add(broker)
    own = connection(broker)
    [pages] = own.execute("PRAGMA page_count").fetchone()
    own.execute(f"PRAGMA max_page_count = {pages}")
    batches = [[new_job(payload=b"x" * 500) for _ in range(50)] for _ in range(20)]
    calls = [broker.arun(broker.enqueue(batch, {})) for batch in batches]
    found = await asyncio.gather(*calls, return_exceptions=True)
    told = {job.id for batch in found if not isinstance(batch, BaseException) for job in batch}
    assert {type(batch) for batch in found} >= {BrokerUnavailable}
    assert len(ids(broker)) == len(told) + 1
    assert told < ids(broker)


FILLS_THE_DISK = """
import resource, signal, sys
from backburner.brokers.sqlite.broker import SqliteBroker
from backburner.errors import BrokerUnavailable
from backburner.job import JobRecord, new_id

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
broker = SqliteBroker(sys.argv[1])
new = lambda: JobRecord(id=new_id(), task="t", payload=b"x" * 900)
add = lambda: print(broker.run(broker.enqueue([new()], {}))[0].id)
add()
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
try:
    while True:
        add()
except BrokerUnavailable as error:
    print(f"error: {error}")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
add()
"""


def test_a_disk_that_takes_no_more_bytes(path: Path) -> None:
    """The kernel itself refuses the write, in the middle of a transaction."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    assert signal.SIGXFSZ
    command = [sys.executable, "-c", FILLS_THE_DISK, f"sqlite:///{path}"]
    printed = subprocess.run(
        command, capture_output=True, text=True, timeout=50, check=True
    ).stdout.splitlines()
    [error] = [line for line in printed if line.startswith("error: ")]
    assert f"{path} failed to read or write: look at the system's log" in error
    with closing(SqliteBroker(f"sqlite:///{path}")) as broker:
        assert ids(broker) == set(printed) - {error}
        assert connection(broker).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_many_processes_may_make_the_same_new_file(path: Path) -> None:
    script = (
        "import sys; from backburner import Backburner; app = Backburner(sys.argv[1]);"
        "sys.stdin.readline(); app.enqueue('t')"
    )
    command = [sys.executable, "-c", script, f"sqlite:///{path}"]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(6)]
    for process in processes:
        process.communicate("go\n", timeout=50)
    assert [process.returncode for process in processes] == [0] * 6
    with closing(SqliteBroker(f"sqlite:///{path}")) as broker:
        assert len(ids(broker)) == 6
