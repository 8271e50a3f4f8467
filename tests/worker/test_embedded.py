"""The worker inside another program's event loop."""

from __future__ import annotations

from backburner import Backburner


async def test_a_job_runs_while_somebody_waits_for_nothing_in_particular(app: Backburner) -> None:
    # A waiter without topics once ended the claim loop, and the job stayed queued for ever.
    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    with app.broker.waiter([]):
        async with app.worker():
            job = await add.aenqueue(1, 2)
            assert await job.aresult(timeout=10) == 3
