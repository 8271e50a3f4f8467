"""An operation that has begun goes on where it was, also one that had nothing to do."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from backburner.brokers.begun import begun


def steps(count: int, seen: list[str]) -> Generator[int, str, str]:
    for number in range(count):
        reply = yield number
        seen.append(reply)
    return "done"


def performed(operation: Generator[Any, Any, str]) -> str:
    reply: Any = None
    try:
        while True:
            reply = f"reply to {operation.send(reply)}"
    except StopIteration as stop:
        return str(stop.value)


def test_its_first_step_is_asked_for_at_once_and_answered_later() -> None:
    seen: list[str] = []
    operation = begun(steps(2, seen))
    assert performed(operation) == "done"
    assert seen == ["reply to 0", "reply to 1"]


def test_one_without_a_step_has_its_result() -> None:
    assert performed(begun(steps(0, []))) == "done"
