"""What the package gives to the tests of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from backburner import Backburner, Retry, State, current_job
from backburner.testing import Clock, adrain, drain, isolated


@pytest.fixture
def app(backburner_url: str) -> Backburner:
    return Backburner(backburner_url)


def test_an_isolated_app_leaves_its_real_queue_alone(app: Backburner, tmp_path: Path) -> None:
    app.task(name="mail")(lambda user_id: user_id)
    real, inspector = app.broker, app.inspector
    with isolated(app) as clock:
        job = app.enqueue("mail", 1)
        assert job.record.created_at == clock()
        assert app.inspector.broker is app.broker is not real
    assert app.broker is real
    assert app.inspector.broker is inspector.broker
    assert not list(tmp_path.iterdir())


def test_drain_runs_what_is_due_and_what_that_enqueues(app: Backburner) -> None:
    seen: list[int] = []

    @app.task
    def count_down(number: int) -> int:
        seen.append(number)
        if number:
            current_job().then(count_down, number - 1)
        return number

    with isolated(app):
        job = count_down.enqueue(3)
        later = count_down.using(delay=60).enqueue(0)
        assert drain(app) == 4
        assert seen == [3, 2, 1, 0]
        assert job.result(timeout=0) == 3
        assert later.refresh().state is State.SCHEDULED
        assert drain(app) == 0


async def test_time_passes_when_the_test_says_so(app: Backburner, backburner_clock: Clock) -> None:
    attempts: list[float] = []

    @app.task(retry=Retry(max_attempts=3, first=10, factor=6, jitter=0))
    async def resize() -> None:
        attempts.append(backburner_clock())
        raise OSError

    @app.every(3600)
    @app.task(name="hourly")
    async def hourly() -> None: ...

    start = backburner_clock()
    with isolated(app, backburner_clock):
        job = await resize.aenqueue()
        for seconds in (0, 9, 1, 59, 1):
            backburner_clock.advance(seconds)
            await adrain(app)
        assert attempts == [start, start + 10, start + 70]
        assert (await job.arefresh()).state is State.DEAD
        backburner_clock.advance(3600)
        assert await adrain(app) == 1, "the periodic task"


def test_drain_does_not_wait_for_what_cannot_run(app: Backburner) -> None:
    task = app.task(name="mail")(lambda: None)
    with isolated(app):
        task.enqueue()
        task.using(queue="nobody-works-here").enqueue()
        app.broker.run(app.broker.set_queue("default", paused=True))
        assert drain(app) == 0
