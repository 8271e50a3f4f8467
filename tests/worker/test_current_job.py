"""What a running task knows of its job, and does with it, in every kind of executor."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from backburner import Backburner, BackburnerError, Job, current_job
from tests.worker.helpers import KINDS, LONG, Pipe, ended


@pytest.mark.parametrize("kind", KINDS)
async def test_a_task_knows_its_job(kinds: Any, kind: str) -> None:
    task = kinds.app.tasks[f"{kind}.describe"]
    plain: Job[dict[str, Any]] = task.enqueue()
    special: Job[dict[str, Any]] = task.using(
        queue="night", tags=["a", "b"], meta={"user": 7}, timeout=7000
    ).enqueue()
    async with kinds.app.worker(queues="default,night", cpu_processes=1):
        found = await plain.aresult(timeout=LONG)
        assert found == {
            "id": plain.id,
            "task": f"{kind}.describe",
            "queue": "default",
            "attempt": 1,
            "token": plain.record.token,  # 2 where a slow start of its process has sent it back
            "meta": {},
            "tags": [],
            "seconds": None,
            "cancelled": False,
        }
        told = await special.aresult(timeout=LONG)
        changed = {"id": special.id, "queue": "night", "tags": ["a", "b"], "meta": {"user": 7}}
        assert told == {**found, **changed, "token": special.record.token, "seconds": 7000.0}


@pytest.mark.parametrize("kind", KINDS)
async def test_progress_is_seen_at_once_and_the_next_attempt_goes_on_from_the_checkpoint(
    kinds: Any, pipe: Pipe, answer: Pipe, kind: str
) -> None:
    job: Job[int] = kinds.app.tasks[f"{kind}.resume"].enqueue(pipe.path, answer.path)
    async with kinds.app.worker(cpu_processes=1):
        assert await pipe.read() == "reported"
        assert (await job.arefresh()).progress == {"done": 7}
        answer.write("go on")
        assert await job.aresult(timeout=LONG) == 42
    assert (job.record.attempt, job.record.token, job.progress) == (2, 2, None)


@pytest.mark.parametrize("kind", KINDS)
async def test_follow_ups_are_stored_with_the_success_and_not_after_a_failure(kinds: Any, kind: str) -> None:
    task = kinds.app.tasks[f"{kind}.follow"]
    works: Job[str] = task.enqueue(True)
    fails: Job[str] = task.enqueue(False)
    async with kinds.app.worker(cpu_processes=1):
        # Stored by the time that the success can be seen.
        following = kinds.app.job(await works.aresult(timeout=LONG))
        assert await following.aresult(timeout=LONG) is True
        await ended(fails)
    promised = [line.message for line in fails.history()]
    assert len(promised) == 2
    assert len(kinds.app.inspector.jobs()) == 3, f"none of {promised} was stored"


async def test_a_result_that_cannot_be_stored_takes_its_follow_ups_with_it(app: Backburner) -> None:
    @app.task
    async def sink() -> None: ...

    @app.task
    async def odd() -> object:
        current_job().then(sink)
        return object()

    job = odd.enqueue()
    async with app.worker():
        assert (await ended(job)).state == "dead"
    assert len(app.inspector.jobs()) == 1


async def test_frequent_reports_are_stored_once_a_second(app: Backburner) -> None:
    seen: list[Any] = []

    @app.task
    async def busy() -> None:
        job = current_job()
        for number in range(1000):
            await job.areport({"done": number})
        seen.append((await app.ajob(job.id)).progress)

    async with app.worker():
        await busy.enqueue().aresult(timeout=LONG)
    assert seen == [{"done": 0}]


async def test_a_checkpoint_of_none_clears_the_one_before(app: Backburner) -> None:
    seen: list[Any] = []

    @app.task
    async def resume() -> None:
        job = current_job()
        if job.attempt == 1:
            await job.areport("half")
            await job.asave({"row": 41})
            await job.asave(None)
            seen.append(job.checkpoint)
            raise LookupError("it has to begin anew")
        seen.append(job.checkpoint)

    job = resume.enqueue()
    async with app.worker():
        await ended(job)
    assert seen == [None, None]


async def test_each_of_many_coroutines_has_its_own_job(app: Backburner) -> None:
    together = asyncio.Barrier(3)

    @app.task
    async def meet() -> list[str]:
        before = current_job().id
        await together.wait()
        return [before, current_job().id, await asyncio.to_thread(lambda: current_job().id)]

    jobs = [meet.enqueue() for _ in range(3)]
    async with app.worker():
        for job in jobs:
            assert await job.aresult(timeout=LONG) == [job.id] * 3


def test_outside_of_a_job_there_is_none() -> None:
    with pytest.raises(BackburnerError, match="no job is running here"):
        current_job()
