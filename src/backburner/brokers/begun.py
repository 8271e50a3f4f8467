"""An operation that knows when it was asked for, though it may be performed much later."""

from __future__ import annotations

from typing import TypeVar

from backburner.brokers.base import Operation

T = TypeVar("T")


def begun(operation: Operation[T]) -> Operation[T]:
    """The operation, up to its first step; it must have one."""
    first = operation.send(None)

    def rest() -> Operation[T]:
        step = first
        try:
            while True:
                step = operation.send((yield step))
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            operation.close()

    return rest()
