"""Operations on a caller's own connection, inside the caller's transaction.

1. The kind of connection is recognised by the module of its class: nothing is imported that is not there.
2. A transaction must be open there, or be opened by the driver's rules: in autocommit the promise would be
   empty.
3. Each step is the same statement, written for the driver, with `later` true: whoever is to be woken is told
   by the commit.
4. The server undoes all of it with the caller's rollback. When a completion is refused it raises an error
   there, after which that transaction can only be rolled back.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from backburner.brokers.base import Operation
from backburner.brokers.postgres import schema
from backburner.brokers.postgres.address import Address
from backburner.brokers.postgres.errors import sqlstate, translation
from backburner.brokers.postgres.steps import Do, DoFresh, together
from backburner.brokers.sql import statements
from backburner.errors import ConfigError

T = TypeVar("T")
Rows = Sequence[Sequence[Any]]

ACCEPTED = "psycopg.Connection, sqlalchemy Connection or Session"
ACCEPTED_ASYNC = "psycopg.AsyncConnection, asyncpg.Connection, sqlalchemy AsyncConnection or AsyncSession"


class Statement(NamedTuple):
    """One statement for every style of parameters."""

    named: str
    listed: str
    numbered: str
    names: list[str]
    """For `listed`, in the order of the marks."""
    once: list[str]
    """For `numbered`: each once."""

    def values(self, names: Sequence[str], given: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(given[name] for name in names)


class Own:
    """Performs operations on connections that are not ours."""

    def __init__(self, address: Address) -> None:
        self._address = address
        found = statements(schema.PACKAGE, schema=f'"{address.schema}"', later="true")
        self._statements = {name: _statement(text) for name, text in found.items()}

    def run_on(self, connection: Any, operation: Operation[T]) -> T:
        perform = self._performer(connection, operation, _SYNC)
        try:
            step = next(operation)
            while True:
                step = operation.send([tuple(row) for row in perform(connection, *self._known(step))])
        except StopIteration as stop:
            result: T = stop.value
            return result
        except Exception as error:
            raise self._translated(error) from error
        finally:
            operation.close()

    async def arun_on(self, connection: Any, operation: Operation[T]) -> T:
        if _kind(connection) in _SYNC:
            return self.run_on(connection, operation)
        perform = self._performer(connection, operation, _ASYNC)
        try:
            step = next(operation)
            while True:
                step = operation.send([tuple(row) for row in await perform(connection, *self._known(step))])
        except StopIteration as stop:
            result: T = stop.value
            return result
        except Exception as error:
            raise self._translated(error) from error
        finally:
            operation.close()

    def _known(self, step: Do | DoFresh) -> tuple[Statement, Mapping[str, Any]]:
        if isinstance(step, DoFresh):
            step = together([step])
        return self._statements[step.name], step.parameters

    def _performer(self, connection: Any, operation: Operation[Any], known: Mapping[str, T]) -> T:
        kind = _kind(connection)
        if kind in known:
            return known[kind]
        operation.close()
        if kind in _ASYNC:
            raise ConfigError(
                f"{type(connection).__name__} is asynchronous: use aenqueue, or another connection"
            )
        name = f"{type(connection).__module__}.{type(connection).__qualname__}"
        raise ConfigError(
            f"connection= takes {ACCEPTED}, and in asynchronous calls {ACCEPTED_ASYNC} as well; not {name}"
        )

    def _translated(self, error: Exception) -> Exception:
        return error if sqlstate(error) is None else translation(error, "the connection that was given")


def _kind(connection: Any) -> str:
    for each in type(connection).__mro__:
        package = each.__module__.partition(".")[0]
        if package in {"psycopg", "sqlalchemy", "asyncpg"}:
            name = f"{package}.{each.__name__}"
            if name in _SYNC or name in _ASYNC:
                return name
    return ""


def _psycopg(connection: Any, statement: Statement, given: Mapping[str, Any]) -> Rows:
    from psycopg import Cursor
    from psycopg.rows import tuple_row

    _begun(connection.autocommit and connection.info.transaction_status == 0)
    with Cursor(connection, row_factory=tuple_row) as cursor:  # not the connection's own kind
        rows: Rows = cursor.execute(statement.named, given, prepare=False).fetchall()
        return rows


def _sqlalchemy(connection: Any, statement: Statement, given: Mapping[str, Any]) -> Rows:
    _begun(connection.connection.dbapi_connection.autocommit)
    text, values = _styled(connection.dialect.paramstyle, statement, given)
    rows: Rows = connection.exec_driver_sql(text, values).fetchall()
    return rows


def _sqlalchemy_session(session: Any, statement: Statement, given: Mapping[str, Any]) -> Rows:
    return _sqlalchemy(session.connection(), statement, given)


async def _apsycopg(connection: Any, statement: Statement, given: Mapping[str, Any]) -> Rows:
    from psycopg import AsyncCursor
    from psycopg.rows import tuple_row

    _begun(connection.autocommit and connection.info.transaction_status == 0)
    async with AsyncCursor(connection, row_factory=tuple_row) as cursor:
        await cursor.execute(statement.named, given, prepare=False)
        rows: Rows = await cursor.fetchall()
        return rows


async def _asyncpg(connection: Any, statement: Statement, given: Mapping[str, Any]) -> Rows:
    _begun(not connection.is_in_transaction())
    rows: Rows = await connection.fetch(statement.numbered, *statement.values(statement.once, given))
    return rows


async def _asqlalchemy(connection: Any, statement: Statement, given: Mapping[str, Any]) -> Rows:
    rows: Rows = await connection.run_sync(_sqlalchemy, statement, given)
    return rows


async def _asqlalchemy_session(session: Any, statement: Statement, given: Mapping[str, Any]) -> Rows:
    return await _asqlalchemy(await session.connection(), statement, given)


def _begun(commits_alone: bool) -> None:
    if commits_alone:
        raise ConfigError(
            "no transaction is open on that connection: it commits each statement by itself, and the promise "
            "would be empty; begin one first, or leave out connection="
        )


def _styled(style: str, statement: Statement, given: Mapping[str, Any]) -> tuple[str, Any]:
    if style == "pyformat":
        return statement.named, dict(given)
    if style == "format":
        return statement.listed, statement.values(statement.names, given)
    if style == "numeric_dollar":
        return statement.numbered, statement.values(statement.once, given)
    raise ConfigError(f"SQLAlchemy's driver writes parameters as {style}: use psycopg or asyncpg")


_SYNC: dict[str, Callable[[Any, Statement, Mapping[str, Any]], Rows]] = {
    "psycopg.Connection": _psycopg,
    "sqlalchemy.Connection": _sqlalchemy,
    "sqlalchemy.Session": _sqlalchemy_session,
    "sqlalchemy.scoped_session": _sqlalchemy_session,
}
_ASYNC: dict[str, Callable[[Any, Statement, Mapping[str, Any]], Awaitable[Rows]]] = {
    "psycopg.AsyncConnection": _apsycopg,
    "asyncpg.Connection": _asyncpg,
    "asyncpg.PoolConnectionProxy": _asyncpg,
    "sqlalchemy.AsyncConnection": _asqlalchemy,
    "sqlalchemy.AsyncSession": _asqlalchemy_session,
    "sqlalchemy.async_scoped_session": _asqlalchemy_session,
}


def _statement(text: str) -> Statement:
    names = re.findall(r"%\((\w+)\)s", text)
    once = list(dict.fromkeys(names))
    listed = re.sub(r"%\(\w+\)s", "%s", text)
    numbered = re.sub(r"%\((\w+)\)s", lambda mark: f"${once.index(mark[1]) + 1}", text)
    return Statement(text, listed, numbered, names, once)
