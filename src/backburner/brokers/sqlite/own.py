"""The caller's own connection, in whose transaction an operation is performed.

A `sqlite3.Connection` is taken as it is. SQLAlchemy's wrap one: their transaction is begun first, or their
commit would think that there is none. Nothing is imported that is not there: the module of a class tells.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from backburner.errors import ConfigError


def plain(connection: Any) -> sqlite3.Connection:
    """The connection of sqlite3 in it. Raises `ConfigError` for what has none."""
    found = connection
    if _is_sqlalchemy(found, "Session", "scoped_session"):
        found = found.connection()
    if _is_sqlalchemy(found, "Connection"):
        if not found.in_transaction():
            found.begin()
        found = found.connection.dbapi_connection
    if not isinstance(found, sqlite3.Connection):
        name = f"{type(connection).__module__}.{type(connection).__qualname__}"
        raise ConfigError(
            "connection= takes a sqlite3.Connection, or SQLAlchemy's Connection or Session over one; "
            f"not {name}"
        )
    return found


def _is_sqlalchemy(connection: Any, *names: str) -> bool:
    classes = type(connection).__mro__
    return any(each.__module__.startswith("sqlalchemy.") and each.__name__ in names for each in classes)
