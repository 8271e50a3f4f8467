"""Hooks: handlers of what happens to jobs, of one task or of the whole app."""

from __future__ import annotations

from backburner import Backburner, Retry, current_job, events
from tests.worker.helpers import LONG, Seen, ended

TWICE = Retry(max_attempts=2, first=0)


async def test_hooks_hear_of_failures_and_deaths_of_their_task_or_of_all(app: Backburner) -> None:
    heard: list[tuple[str, str, int]] = []

    @app.task(retry=TWICE)
    def fragile() -> None:
        raise OSError("no space left")

    @app.task(retry=TWICE)
    async def solid() -> None:
        if current_job().attempt == 1:
            raise OSError("busy")

    @app.on(events.Failed, task=fragile)
    def on_failure(event: events.Failed) -> None:
        heard.append(("fragile failed", event.error.message, event.job.attempt))

    @app.on(events.Died, task=solid)
    def on_no_death(event: events.Died) -> None:
        raise AssertionError(event)

    @app.on(events.Failed)
    def on_any_failure(event: events.Failed) -> None:
        heard.append(("failed", event.error.message, event.job.attempt))

    @app.on(events.Died)
    def on_any_death(event: events.Died) -> None:
        heard.append(("died", event.reason, event.job.attempt))

    broken, working = fragile.enqueue(), solid.enqueue()
    async with app.worker():
        await ended(broken)
        await working.aresult(timeout=LONG)
    assert sorted(heard) == [
        ("died", "attempts used up (2 of 2)", 2),
        ("failed", "busy", 1),
        ("failed", "no space left", 1),
        ("fragile failed", "no space left", 1),
    ]


async def test_a_hook_comes_after_the_state_is_stored_and_may_enqueue(app: Backburner) -> None:
    found: list[str] = []

    @app.task
    def alert(job_id: str) -> str:
        return app.job(job_id).state

    @app.task(retry=Retry(max_attempts=1))
    async def fragile() -> None:
        raise OSError

    @app.on(events.Died, task=fragile)
    def on_death(event: events.Died) -> None:
        found.append(alert.enqueue(event.job.id).id)

    seen = Seen(app)
    fragile.enqueue()
    async with app.worker():
        await seen.wait(events.Died)
        [alerted] = found
        assert await app.job(alerted).aresult(timeout=LONG) == "dead"


async def test_a_hook_that_fails_harms_neither_its_job_nor_the_worker(app: Backburner) -> None:
    @app.task
    async def fine() -> int:
        return 1

    app.on(events.Succeeded)(lambda event: 1 / 0)
    app.on(events.Started)(lambda event: 1 / 0)
    async with app.worker():
        for _ in range(2):
            assert await fine.enqueue().aresult(timeout=LONG) == 1
