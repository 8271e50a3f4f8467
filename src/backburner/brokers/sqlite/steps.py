"""What an operation of the SQLite broker yields.

Values are given in the order of a statement's question marks, or by name to one that names them. Numbers
(`?1`) would do for both, but Python 3.12.0 to 3.12.3 warns of each (gh-117995).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Do(NamedTuple):
    """Execute a named statement; the reply is the list of its rows."""

    name: str
    parameters: Sequence[Any] | Mapping[str, Any] = ()


class DoMany(NamedTuple):
    """Execute a named statement once for each row; the reply is the number of rows changed."""

    name: str
    rows: Sequence[Sequence[Any] | Mapping[str, Any]]


class Begin(NamedTuple):
    """From here on the operation writes."""


class Savepoint(NamedTuple):
    """`set`, `undo` or `keep` a savepoint within the operation."""

    action: str


class Wake(NamedTuple):
    """Wake so many waiters of each topic after the commit."""

    counts: Mapping[str, int]
