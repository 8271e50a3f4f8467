"""The three kinds of executor behave alike."""

from __future__ import annotations

from typing import Any

import pytest

from backburner import Job, events
from tests.worker.helpers import KINDS, LONG, Pipe, Seen, ended


@pytest.mark.parametrize("kind", KINDS)
async def test_a_task_returns_fails_and_exits_alike_in_every_kind(kinds: Any, kind: str) -> None:
    tasks = kinds.app.tasks
    failing: Job[Any] = tasks[f"{kind}.fail"].enqueue("no such row")
    leaving: Job[Any] = tasks[f"{kind}.leave"].enqueue(3)
    adding: Job[int] = tasks[f"{kind}.add"].enqueue(1, 2)
    async with kinds.app.worker(cpu_processes=1):
        for job in (failing, leaving, adding):
            await ended(job)
    assert (adding.result(), adding.history()) == (3, [])
    for job, error, message in ((failing, "LookupError", "no such row"), (leaving, "SystemExit", "3")):
        assert (job.state, job.record.reason) == ("dead", "attempts used up (2 of 2)")
        assert [(line.attempt, line.outcome, line.error, line.message) for line in job.history()] == [
            (1, "retry", error, message),
            (2, "die", error, message),
        ]
        frames = [line for line in (job.history()[0].traceback or "").splitlines() if "  File" in line]
        assert [frame.rpartition(" in ")[2] for frame in frames][-1] == job.record.task.rpartition(".")[2]
        assert all("tests/worker/kinds.py" in frame for frame in frames)


@pytest.mark.parametrize("kind", KINDS)
async def test_jobs_of_every_kind_run_side_by_side_up_to_their_slots(
    kinds: Any, pipe: Pipe, answer: Pipe, kind: str
) -> None:
    task = kinds.app.tasks[f"{kind}.linger"]
    jobs: list[Job[str]] = [task.enqueue(pipe.path, answer.path) for _ in range(2)]
    seen = Seen(kinds.app)
    async with kinds.app.worker(concurrency=2, threads=2, cpu_processes=2):
        begun = 0
        while begun < 2:
            begun += len((await pipe.read()).split())
        for number in (1, 2):
            answer.write("go")
            await seen.wait(events.Succeeded, number)
        assert [await job.aresult(timeout=LONG) for job in jobs] == ["go", "go"]
