"""Functions that do not stop when they are told to."""

from __future__ import annotations

from typing import Any

import pytest

from backburner import Backburner, Job, Retry, events
from backburner.control import Stop
from backburner.worker import executors
from tests.worker.helpers import LONG, Pipe, Seen, ended, hear, say

LIMIT = 0.5
"""Seconds: more than any function here takes to come to the point at which it is stuck."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "STUCK_AFTER", 0.05)


async def test_a_function_that_waits_in_c_is_reported_with_its_stack_and_keeps_its_slot(
    app: Backburner, pipe: Pipe, answer: Pipe
) -> None:
    ran: list[str] = []

    @app.task(retry=Retry(max_attempts=1))
    def deaf() -> None:
        hear(answer.path)

    @app.task
    def next_one() -> None:
        ran.append("next")

    seen = Seen(app)
    job, after = deaf.using(timeout=LIMIT).enqueue(), next_one.enqueue()
    async with app.worker(threads=1):
        [event] = await seen.wait(events.StuckThread)
        assert event.job.id == job.id
        assert [line.strip() for line in event.stack.splitlines() if "hear(" in line] == ["hear(answer.path)"]
        assert "in deaf" in event.text()
        assert "in hear" in event.stack.splitlines()[-2]
        assert (job.refresh().state, ran) == ("running", [])
        answer.write("enough")
        await after.aresult(timeout=LONG)
        assert (await ended(job)).state == "dead"
    assert [line.message for line in job.history()] == [f"time limit of {LIMIT} s"]


async def test_a_function_that_swallows_the_interruption_is_asked_again(app: Backburner) -> None:
    @app.task(timeout=LIMIT, retry=Retry(max_attempts=1))
    def stubborn() -> None:
        try:
            while True:
                pass
        except Stop:
            while True:
                pass

    seen = Seen(app)
    job = stubborn.enqueue()
    async with app.worker():
        await ended(job)
    assert [line.message for line in job.history()] == [f"time limit of {LIMIT} s"]
    [event] = seen.of(events.StuckThread)
    assert "in stubborn" in event.stack


async def test_a_stuck_function_does_not_keep_the_worker_from_stopping(
    app: Backburner, pipe: Pipe, answer: Pipe
) -> None:
    @app.task
    def deaf() -> None:
        say(pipe.path)
        hear(answer.path)

    seen = Seen(app)
    job: Job[Any] = deaf.enqueue()
    async with app.worker(grace=0.1):
        assert await pipe.read() == "begun"
    record = job.refresh().record
    assert (record.state, record.attempt) == ("queued", 0)
    assert [line.outcome for line in job.history()] == ["release"]
    assert [event.job.id for event in seen.of(events.Released)] == [job.id]
    answer.write("enough")
