"""What an operation of the PostgreSQL broker yields: one kind of step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from backburner.brokers.base import Operation


class Do(NamedTuple):
    """Execute a statement of `queries.sql`, which is atomic by itself; the reply is the list of its rows."""

    name: str
    parameters: Mapping[str, Any] = {}
    again: bool = True
    """Doing it twice does no harm: it is sent again when the connection broke before the answer came."""


def once(step: Do) -> Operation[None]:
    """An operation of one step, whose reply nobody needs."""
    yield step
