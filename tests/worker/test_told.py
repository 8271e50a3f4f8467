"""An idle worker looks for due jobs and schedules every few seconds; in between it is told of what comes."""

from __future__ import annotations

import asyncio
import os

import pytest

from backburner import Backburner, Task
from backburner.worker import maintenance
from tests.worker.helpers import LONG, within

Set = Task[[str], None]


@pytest.fixture(autouse=True)
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "LONGEST", 3600.0)


@pytest.fixture
def begun() -> dict[str, asyncio.Event]:
    return {name: asyncio.Event() for name in ("new", "resumed")}


@pytest.fixture
def begin(app: Backburner, begun: dict[str, asyncio.Event]) -> Set:
    @app.task
    async def begin(name: str) -> None:
        begun[name].set()

    app.schedule(begin, name="resumed", every=0.1, args=["resumed"])
    app.inspector.pause_schedule("resumed")
    return begin


async def test_an_idle_worker_is_told_of_what_comes(begin: Set, begun: dict[str, asyncio.Event]) -> None:
    async with begin.app.worker():
        await begin.enqueue("new").aresult(timeout=LONG)
        await begin.using(delay=0.1).enqueue("new").aresult(timeout=LONG)
        begun["new"].clear()
        begin.app.schedule(begin, name="new", every=0.1, args=["new"])
        await within(begun["new"])
        assert not begun["resumed"].is_set()
        begin.app.inspector.resume_schedule("resumed")
        await within(begun["resumed"])


@pytest.mark.parametrize("broker_name", ["sqlite"])
async def test_a_worker_that_nobody_can_tell_looks_by_itself(
    begin: Set, begun: dict[str, asyncio.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "mkfifo", refuse)
    await test_an_idle_worker_is_told_of_what_comes(begin, begun)
