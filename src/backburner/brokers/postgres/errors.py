"""The one place where errors of PostgreSQL and its drivers become errors of Backburner.

A driver's error carries the server's SQLSTATE, or none when the connection is the trouble. Only with a
SQLSTATE is it certain that nothing was done, and not with each (`CUT_OFF`).
"""

from __future__ import annotations

import psycopg

from backburner.errors import (
    BackburnerError,
    BrokerError,
    BrokerUnavailable,
    LeaseLost,
    SchemaError,
)

LEASE_LOST = "BB001"
CONFLICTS = ("40001", "40P01")
"""Two transactions were in each other's way: the server undid this one, and it may be sent again at once."""

CUT_OFF = ("08", "57P")
"""The session ended, or a pooler lost it: whether the statement was done nobody knows."""

_MISSING = ("3F000", "42883", "42P01")
_TEMPORARY = {
    "40001": "transactions at {place} were in each other's way: try again",
    "40P01": "transactions at {place} waited for each other: try again",
    "25006": "the server at {place} takes no writes (a standby, or read-only by default): name the primary",
    "53100": "the server at {place} has no disk space left: free some; nothing was stored",
    "53200": "the server at {place} is out of memory: give it some, or lower work_mem; nothing was stored",
    "53300": "too many connections to {place}: raise max_connections, or put PgBouncer in between",
    "55P03": "a lock at {place} is held too long: end the transaction that has it (see `backburner doctor`)",
    "57014": "a statement at {place} took longer than statement_timeout: raise it for this role",
    "57P01": "the server at {place} is shutting down, or an administrator ended the session",
    "57P02": "the server at {place} crashed and restarts",
    "57P03": "the server at {place} is starting or stopping",
    "58030": "the server at {place} failed to read or write its disk: look at its log",
}
_PERMANENT = {
    "28P01": "{place} refused the user or the password: correct them in the URL, or in ~/.pgpass",
    "28000": "the server at {place} lets this user in not at all: see its pg_hba.conf",
    "3D000": "there is no such database at {place}: create it, or correct the URL",
    "42501": "this role lacks a right at {place}: use the one that ran `backburner migrate`, or grant it",
}
# Before a session exists psycopg has no SQLSTATE: the server's words have to do.
_SIGNS = {
    "password authentication failed": "28P01",
    "no password supplied": "28P01",
    "no pg_hba.conf entry": "28000",
    'FATAL:  role "': "28P01",
    "does not exist": "3D000",
    "too many connections": "53300",
    "too many clients": "53300",
    "remaining connection slots": "53300",
    "starting up": "57P03",
    "shutting down": "57P03",
    "recovery mode": "57P03",
}


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE in an error of psycopg, asyncpg, psycopg2, or SQLAlchemy around one of these."""
    inner = getattr(error, "orig", None) or error
    if isinstance(inner.__cause__, Exception) and not hasattr(inner, "sqlstate"):
        inner = inner.__cause__
    return getattr(inner, "sqlstate", None) or getattr(inner, "pgcode", None)


def translation(error: Exception, place: str) -> BackburnerError:
    """What to raise: `BrokerUnavailable` for what may pass, another `BrokerError` for what needs a person."""
    text = str(error).strip()
    code = sqlstate(error) or next((code for sign, code in _SIGNS.items() if sign in text), None)
    kind, words = _judged(code) if code else _unanswered(error, text)
    return kind(f"{words.format(place=place)} ({text})")


def _judged(code: str) -> tuple[type[BackburnerError], str]:
    if code == LEASE_LOST:
        return LeaseLost, "the job is owned by another attempt by now: stop; roll your transaction back"
    if code in _MISSING:
        return SchemaError, "there are no tables of this version at {place}: run `backburner migrate`"
    if code in _TEMPORARY:
        return BrokerUnavailable, _TEMPORARY[code]
    if code.startswith(CUT_OFF):
        return BrokerUnavailable, "the connection to {place} was cut off: see that the server runs"
    return BrokerError, _PERMANENT.get(code, "PostgreSQL at {place} refused a request")


def _unanswered(error: Exception, text: str) -> tuple[type[BackburnerError], str]:
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return BrokerError, "a request to PostgreSQL at {place} cannot be made"
    if "SSL" in text or "certificate" in text:
        return (
            BrokerError,
            "no encrypted connection to {place}: enable TLS there, or correct sslmode in the URL",
        )
    return BrokerUnavailable, "cannot reach PostgreSQL at {place}: see that it runs and lets you through"
