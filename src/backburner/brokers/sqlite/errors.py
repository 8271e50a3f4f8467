"""The one place where errors of sqlite3 become errors of Backburner."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from backburner.errors import BrokerError, BrokerUnavailable

_TEMPORARY = {
    "locked": "{path} is locked by another process for too long: end what holds a write transaction open",
    "busy": "{path} is busy for too long: end what holds a write transaction open",
    "full": "no space is left for {path}: free some; nothing was stored",
    "disk I/O error": "the disk under {path} failed to read or write: look at the system's log",
}
_PERMANENT = {
    "unable to open": "cannot open {path}: create its folder, or allow this user to write there",
    "readonly": "{path} is read-only: allow this user to write the file and its folder",
    "not a database": "{path} is no SQLite database: name another file, or restore this one from a backup",
    "malformed": "{path} is corrupt: stop the workers, then restore it, or try `sqlite3 FILE .recover`",
}


# What one operation is to blame for; every other error is the file's.
OWN_FAULT = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError)


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Raise `BrokerUnavailable` for what may pass, `BrokerError` for what needs a person."""
    try:
        yield
    except sqlite3.Error as error:
        raise translation(error, path) from error


def translation(error: Exception, path: str) -> Exception:
    """What to raise for `error`: itself, unless it is of sqlite3."""
    if not isinstance(error, sqlite3.Error):
        return error
    text = str(error)
    for sign, message in _TEMPORARY.items():
        if sign in text:
            return BrokerUnavailable(f"{message.format(path=path)} ({text})")
    for sign, message in _PERMANENT.items():
        if sign in text:
            return BrokerError(f"{message.format(path=path)} ({text})")
    return BrokerError(f"SQLite refused a request on {path}: {text}")
