"""A request to stop a job reaches every process of a node, also those that have just started."""

from __future__ import annotations

from pathlib import Path

import pytest

from backburner import Backburner
from tests.faults.brokers import url_of
from tests.faults.harness import node, started, wait_until

SELDOM = {"lease": 300.0, "heartbeat": 150.0}
PROCESSES = 3


@pytest.mark.parametrize("broker", ["sqlite", "redis", "postgres"])
def test_it_does_not_wait_for_a_heartbeat(
    broker: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = url_of(broker, request, tmp_path)
    app = Backburner(url)
    jobs = [app.enqueue("fault_tasks.long", 300.0) for _ in range(PROCESSES)]
    options = (f"--processes={PROCESSES}", "--concurrency=1")
    with node(tmp_path, *options, settings=SELDOM, environment={"FAULTS_URL": url}) as workers:
        wait_until(lambda: started(tmp_path) == PROCESSES, "each process has begun one")
        for job in jobs:
            job.cancel()
        wait_until(lambda: all(job.refresh().state == "cancelled" for job in jobs), "all are stopped")
        assert workers.stop() == 0
    app.close()
