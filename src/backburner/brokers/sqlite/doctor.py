"""What `backburner doctor` says of a database file. It changes nothing, and trouble is an answer, no error.

1. Is the file there; does it open; is it intact; has it the schema of this version? If not, the rest is moot.
2. May it be written, and now? A write transaction is begun and rolled back; whoever holds the lock is named.
3. Is it in WAL mode, is the log of a reasonable size, and is there room on the disk?
4. Who waits for wake-ups, and does anybody not read them?
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from backburner.brokers.sqlite import schema
from backburner.brokers.sqlite.errors import translated
from backburner.doctor import Check, Level
from backburner.errors import BrokerError, BrokerUnavailable
from backburner.words import plural

LOCK_TIMEOUT = 1.0
"""Seconds of waiting for the lock: a busy queue gives it back within milliseconds."""
LARGE_LOG = 256 * 1024 * 1024
LITTLE_SPACE = 1024 * 1024 * 1024
NO_SPACE = 64 * 1024 * 1024
READ_TIME = 1.0
"""Seconds that a waiter has to read its wake-up."""
_WAL_WRITE_LOCK = 120
"""The byte of the -shm file that a writer locks, by SQLite's file format."""


def checkup(path: str) -> list[Check]:
    """Every check of the file at `path`, as far as they got."""
    if path == ":memory:":
        return [Check(Level.OK, "the database is in memory: its jobs end with this process")]
    file = Path(path)
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return [_absent(file)]
    except OSError as error:
        return [Check(Level.FAIL, f"cannot look at {path}: {error.strerror}", "check the path, and who may")]
    checks: list[Check] = []
    try:
        with translated(path), closing(_open(path)) as connection:
            checks += _readable(connection, path)
            checks += _writable(connection, path)
            checks += _journal(connection, file)
    except BrokerError as error:
        checks.append(Check(Level.FAIL, str(error)))
    return [*checks, *_disk(file), *_pipes(Path(f"{path}-wake"))]


def _absent(file: Path) -> Check:
    if file.parent.is_dir():
        return Check(
            Level.FAIL,
            f"{file} does not exist",
            "check the path; the first enqueue or `backburner migrate` makes it",
        )
    return Check(Level.FAIL, f"the folder {file.parent} does not exist", "check the path, or make the folder")


def _open(path: str) -> sqlite3.Connection:
    uri = f"file:{quote(path)}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=LOCK_TIMEOUT, isolation_level=None)


def _readable(connection: sqlite3.Connection, path: str) -> Iterator[Check]:
    found = schema.version(connection)
    problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if problem != "ok":
        yield Check(
            Level.FAIL,
            f"{path} is damaged: {problem}",
            "stop the workers, then restore it from a backup, or recover it with `sqlite3 FILE .recover`",
        )
    else:
        yield Check(Level.OK, f"{path} is intact, {_megabytes(Path(path).stat().st_size)}")
    if found == schema.VERSION:
        yield Check(Level.OK, f"schema {found} is that of this version")
    elif found > schema.VERSION:
        yield Check(
            Level.FAIL,
            f"schema {found} was made by a newer Backburner; this one knows {schema.VERSION}",
            "upgrade the package",
        )
    else:
        state = f"schema {found} is old" if found else "there are no Backburner tables in it"
        yield Check(Level.FAIL, state, f"backburner migrate --url sqlite:///{path}")


def _writable(connection: sqlite3.Connection, path: str) -> Iterator[Check]:
    try:
        with translated(path):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except BrokerUnavailable as error:
        holders = ", ".join(map(_process, _lock_holders(path))) or "a process that cannot be seen from here"
        yield Check(
            Level.FAIL,
            f"{error}; the lock is held by {holders}",
            "end its transaction, or the process",
        )
    except BrokerError as error:
        yield Check(Level.FAIL, str(error))
    else:
        yield Check(Level.OK, "it can be written, and nobody holds its lock")


def _journal(connection: sqlite3.Connection, file: Path) -> Iterator[Check]:
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    log = Path(f"{file}-wal")
    size = log.stat().st_size if log.exists() else 0
    if mode != "wal":
        yield Check(
            Level.WARN,
            f"its journal is in mode {mode!r}, so readers and writers wait for each other",
            "put it on a local disk: network file systems cannot have the write-ahead log",
        )
    elif size > LARGE_LOG:
        yield Check(
            Level.WARN,
            f"its write-ahead log has {_megabytes(size)}: a long read keeps it from shrinking",
            "end the read transaction that somebody holds open",
        )
    else:
        yield Check(Level.OK, f"its write-ahead log has {_megabytes(size)}")


def _disk(file: Path) -> Iterator[Check]:
    free = shutil.disk_usage(file.parent).free
    level = Level.FAIL if free < NO_SPACE else Level.WARN if free < LITTLE_SPACE else Level.OK
    yield Check(
        level, f"{_megabytes(free)} free on its disk", None if level is Level.OK else "free some space"
    )


def _pipes(folder: Path) -> Iterator[Check]:
    if not folder.is_dir():
        return
    waiting, unread, left = _look(folder)
    if unread:
        time.sleep(READ_TIME)
        unread &= _look(folder)[1]
    if unread:
        numbers = sorted({int(pipe.name.partition("-")[0]) for pipe in unread})
        yield Check(
            Level.WARN,
            f"wake-ups have not been read for {READ_TIME:g} s by {', '.join(map(_process, numbers))}",
            "it is very busy, stopped, or its event loop is blocked: look at `backburner workers`",
        )
    else:
        gone = f"; {plural(left, 'pipe', 'pipes')} of dead processes go with the next wake-up" if left else ""
        yield Check(Level.OK, f"{plural(waiting, 'waiter listens', 'waiters listen')} for wake-ups{gone}")


def _look(folder: Path) -> tuple[int, set[Path], int]:
    """How many pipes have a reader, which of them hold unread bytes, and how many have none."""
    waiting, unread, left = 0, set[Path](), 0
    for pipe in folder.iterdir():
        with suppress(FileNotFoundError, PermissionError):
            try:
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:  # nobody has it open for reading
                left += 1
                continue
            waiting += 1
            reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
            try:
                if struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, b"\0" * 4))[0]:
                    unread.add(pipe)
            finally:
                os.close(reader)
    return waiting, unread, left


def _lock_holders(path: str) -> list[int]:
    """The processes that hold the write lock, as far as the system tells (Linux)."""
    locks, shared = Path("/proc/locks"), Path(f"{path}-shm")
    if not (locks.exists() and shared.exists()):
        return []
    inode, found = str(shared.stat().st_ino), set()
    for line in locks.read_text().splitlines():
        fields = line.split()  # 1: POSIX ADVISORY WRITE 2241 fe:00:2173158 120 120
        if fields[1] == "POSIX" and fields[3] == "WRITE" and fields[5].rpartition(":")[2] == inode:
            first, last = fields[6], fields[7]
            if int(first) <= _WAL_WRITE_LOCK and (last == "EOF" or int(last) >= _WAL_WRITE_LOCK):
                found.add(int(fields[4]))
    return sorted(found)


def _process(number: int) -> str:
    try:
        command = Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        command = ""
    return f"process {number} ({command.strip()[:60]})" if command.strip() else f"process {number}"


def _megabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
