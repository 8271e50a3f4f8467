"""200 threads of one program enqueue at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from backburner import Backburner
from tests.faults.brokers import BROKERS, url_of
from tests.faults.harness import effects, node, wait_until

THREADS = 200
EACH = 5
MOST = 12
"""Connections that one process makes, however many of its threads ask."""


@pytest.mark.parametrize("broker", BROKERS)
def test_none_of_their_jobs_is_lost_and_few_connections_carry_them(
    broker: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    url = url_of(broker, request, tmp_path)
    app = Backburner(url)
    task = app.named("fault_tasks.quick")
    task.enqueue(0.0)
    together = threading.Barrier(THREADS)
    most = 0

    def enqueue(number: int) -> list[str]:
        nonlocal most
        together.wait()
        found = [task.enqueue(0.0).id for _ in range(EACH)]
        if number % 10 == 0:
            most = max(most, connections())
        return found

    with ThreadPoolExecutor(THREADS) as threads:
        ids = [job_id for found in threads.map(enqueue, range(THREADS)) for job_id in found]
    assert len(set(ids)) == THREADS * EACH
    assert most <= MOST
    app.close()
    with node(tmp_path, environment={"FAULTS_URL": url}) as workers:
        wait_until(lambda: set(ids) <= effects(tmp_path).keys(), "all of them run")
        assert workers.stop() == 0


def connections() -> int:
    """Of this process to servers, and its open database files."""
    own = psutil.Process()
    files = [file for file in own.open_files() if file.path.endswith("jobs.db")]
    return len(own.net_connections("tcp")) + len(files)
