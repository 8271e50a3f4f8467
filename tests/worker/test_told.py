"""An idle worker looks for due jobs and schedules every few seconds; in between it is told of what comes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest

from backburner import Backburner, Task
from backburner.brokers.base import Waiter
from backburner.worker import maintenance
from tests.worker.helpers import within

HOUR = 3600.0
Begin = Task[[], None]


@pytest.fixture(autouse=True)
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "LONGEST", HOUR)


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set once a worker has looked, and found nothing to come."""
    idle, wait = asyncio.Event(), maintenance.Maintenance._wait

    async def waits(self: maintenance.Maintenance, waiter: Waiter, until: float) -> None:
        idle.set()
        await wait(self, waiter, until)

    monkeypatch.setattr(maintenance.Maintenance, "_wait", waits)
    return idle


@pytest.fixture
def begun() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
def begin(app: Backburner, begun: asyncio.Event) -> Begin:
    @app.task
    async def begin() -> None:
        begun.set()

    app.schedule(begin, name="paused", every=0.1)
    app.inspector.pause_schedule("paused")
    return begin


COMES: dict[str, Callable[[Begin], object]] = {
    "a delayed job": lambda begin: begin.using(delay=0.1).enqueue(),
    "a new schedule": lambda begin: begin.app.schedule(begin, name="new", every=0.1),
    "a schedule that goes on": lambda begin: begin.app.inspector.resume_schedule("paused"),
}


@pytest.mark.parametrize("what", COMES)
async def test_an_idle_worker_is_told_of_what_comes(
    begin: Begin, begun: asyncio.Event, idle: asyncio.Event, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(maintenance, "UNSURE", HOUR)
    async with begin.app.worker():
        await within(idle)
        COMES[what](begin)
        await within(begun)


@pytest.mark.parametrize("what", COMES)
@pytest.mark.parametrize("broker_name", ["sqlite"])
async def test_a_worker_that_nobody_can_tell_looks_by_itself(
    begin: Begin, begun: asyncio.Event, idle: asyncio.Event, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "mkfifo", refuse)
    async with begin.app.worker():
        await within(idle)
        COMES[what](begin)
        await within(begun)
