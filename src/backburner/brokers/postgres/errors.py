"""The one place where errors of PostgreSQL and its drivers become errors of Backburner.

A driver's error carries the server's SQLSTATE, or none when the connection is the trouble. Only with a
SQLSTATE is it certain that nothing was done.
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

_TEMPORARY = {
    "25006": "the server at {place} takes no writes (a standby, or default_transaction_read_only): name the primary",
    "53100": "the server at {place} has no disk space left: free some; nothing was stored",
    "53200": "the server at {place} is out of memory: give it some, or lower work_mem; nothing was stored",
    "53300": "the server at {place} has too many connections: raise max_connections, or put PgBouncer in between",
    "55P03": "waited too long for a lock at {place}: end the transaction that has stayed open (see `backburner doctor`)",
    "57014": "a statement at {place} took longer than statement_timeout: raise it for this role, or see what is slow",
    "57P01": "the server at {place} is shutting down, or an administrator ended the session",
    "57P02": "the server at {place} crashed and restarts",
    "57P03": "the server at {place} is starting or stopping",
    "58030": "the server at {place} failed to read or write its disk: look at its log",
}
_PERMANENT = {
    "28P01": "the server at {place} refused the password: correct it in the URL, or in ~/.pgpass",
    "28000": "the server at {place} lets this user in not at all: see its pg_hba.conf",
    "3D000": "there is no such database at {place}: create it, or correct the URL",
    "42501": "this role lacks a right at {place}: use the role that ran `backburner migrate`, or grant it",
}
# Before a session exists psycopg has no SQLSTATE: the server's words have to do.
_SIGNS = {
    "password authentication failed": "28P01",
    "no password supplied": "28P01",
    "no pg_hba.conf entry": "28000",
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
    if code == LEASE_LOST:
        return LeaseLost("the job is owned by another attempt by now: roll back, nothing can be stored")
    if code in {"3F000", "42883", "42P01"}:
        return SchemaError(
            f"that database ({place}) has no Backburner tables of this version: run `backburner migrate` ({text})"
        )
    if code in _PERMANENT:
        return BrokerError(f"{_PERMANENT[code].format(place=place)} ({text})")
    if code in _TEMPORARY:
        return BrokerUnavailable(f"{_TEMPORARY[code].format(place=place)} ({text})")
    if code in CONFLICTS:
        return BrokerUnavailable(f"transactions at {place} were in each other's way: try again ({text})")
    if code is None and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        if "SSL" in text or "certificate" in text:
            return BrokerError(
                f"no encrypted connection to {place}: enable TLS there, or correct sslmode and sslrootcert in the "
                f"URL ({text})"
            )
        return BrokerUnavailable(
            f"cannot reach PostgreSQL at {place}: see that it runs and that the network lets you through ({text})"
        )
    return BrokerError(f"PostgreSQL at {place} refused a request: {text}")
