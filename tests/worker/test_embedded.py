"""The worker inside another program's event loop."""

from __future__ import annotations

import pytest

from backburner import Backburner, ConfigError


async def test_a_job_runs_while_somebody_waits_for_nothing_in_particular(app: Backburner) -> None:
    # A waiter without topics once ended the claim loop, and the job stayed queued for ever.
    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    with app.broker.waiter([]):
        async with app.worker():
            job = await add.aenqueue(1, 2)
            assert await job.aresult(timeout=10) == 3


async def test_it_refuses_what_only_a_supervisor_can_do(app: Backburner) -> None:
    with pytest.raises(ConfigError, match="an embedded worker has no max_jobs, reload: it is one process"):
        await app.worker(max_jobs=1, reload=True, threads=2).__aenter__()
