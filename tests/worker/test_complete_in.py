"""A job that completes inside its own transaction: the effect and the success are one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from backburner import Backburner, Job, current_job, events
from backburner.brokers.base import Filter
from tests.worker.helpers import KINDS, LONG, Seen, within
from tests.worker.test_zombie import expire, hear_nothing


@pytest.fixture(params=["sqlite", "postgres"])
def broker_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def effects(kinds: Any) -> list[str]:
    with kinds.effects() as own:
        return [row[0] for row in own.execute("SELECT job FROM effects")]


def follow_ups(kinds: Any) -> int:
    return len(kinds.app.broker.run(kinds.app.broker.find(Filter(task="tests.worker.kinds.sink"))))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["return", "fail"])
async def test_what_was_committed_is_done_whatever_the_task_does_then(
    kinds: Any, kind: str, how: str
) -> None:
    seen = Seen(kinds.app)
    job: Job[str] = kinds.app.tasks[f"{kind}.complete"].enqueue(how)
    async with kinds.app.worker(cpu_processes=1):
        assert await job.aresult(timeout=LONG) == f"completed: {how}"
        finished = await seen.wait(events.Succeeded, 2)
        assert job.id in {event.job.id for event in finished}
    assert (job.record.state, job.record.attempt, job.history()) == ("succeeded", 1, [])
    assert (effects(kinds), follow_ups(kinds)) == ([job.id], 1)
    assert seen.names(events.LostLease, events.Failed) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_task_that_returns_without_a_commit_has_failed_and_is_tried_again(
    kinds: Any, kind: str
) -> None:
    seen = Seen(kinds.app)
    job: Job[str] = kinds.app.tasks[f"{kind}.complete"].enqueue("forget")
    async with kinds.app.worker(cpu_processes=1):
        assert await job.aresult(timeout=LONG) == "completed: forget"
        [failed] = await seen.wait(events.Failed)
    assert failed.error.error == "backburner.errors.NotCommitted"
    assert "commit it first" in failed.error.message
    assert [line.attempt for line in job.history()] == [1]
    assert job.record.attempt == 2
    assert (effects(kinds), follow_ups(kinds)) == ([job.id], 1)


async def test_what_was_rolled_back_is_no_success_when_the_lease_was_lost_as_well(
    make_app: Callable[..., Backburner], kinds: Any
) -> None:
    app = make_app(lease=200, heartbeat=100)
    seen, begun, release = Seen(app), asyncio.Event(), asyncio.Event()

    @app.task
    async def work() -> None:
        with kinds.effects() as own:
            await current_job().acomplete_in(own, "undone")
            own.rollback()
        begun.set()
        await release.wait()

    job = work.enqueue()
    async with app.worker(concurrency=1) as zombie:
        zombie.maintenance.heartbeat.perform = hear_nothing
        await within(begun)
        expire(app, zombie)
        app.broker.run(app.broker.rescue(1, 3))
        release.set()
        [lost] = await seen.wait(events.LostLease)
        assert (lost.job.id, job.refresh().state) == (job.id, "queued")
    assert seen.of(events.Succeeded) == []
