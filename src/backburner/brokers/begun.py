"""An operation that knows when it was asked for, though it may be performed much later."""

from __future__ import annotations

from typing import Any, TypeVar

from backburner.brokers.base import Operation

T = TypeVar("T")


def begun(operation: Operation[T]) -> Operation[T]:
    """The operation, up to its first step."""
    try:
        first = operation.send(None)
    except StopIteration as stop:
        return _ended(stop.value)
    return _rest(operation, first)


def _ended(result: T) -> Operation[T]:
    yield from ()
    return result


def _rest(operation: Operation[T], step: Any) -> Operation[T]:
    try:
        while True:
            step = operation.send((yield step))
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        operation.close()
