"""What is not due yet waits in RabbitMQ: it costs a worker no memory, and holds back nothing that is due."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from backburner import Backburner
from tests.faults.harness import Node, effects, node, wait_until

MANY = 100_000
HOUR = 3600.0
SOON = 5.0
"""Seconds: what is due before then is waited for."""


def memory(worker: Node) -> float:
    """Megabytes that the worker process has to itself."""
    [process] = worker.children()
    return psutil.Process(process.pid).memory_full_info().pss / 1e6


@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(180)
def test_a_hundred_thousand_delayed_jobs_cost_a_worker_no_memory_and_a_second_is_a_second(
    rabbit_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = Backburner(rabbit_url)
    task = app.named("fault_tasks.quick")
    with node(tmp_path, environment={"FAULTS_URL": rabbit_url}) as worker:
        worker.wait_ready()
        warm = task.enqueue_many([(0.0,)] * 1000)
        wait_until(lambda: len(effects(tmp_path)) == len(warm), "the worker has warmed up")
        before = memory(worker)
        began = time.monotonic()
        for delay in sorted(random.uniform(1.0, HOUR) for _ in range(MANY // 100)):
            task.using(delay=delay).enqueue_many([(0.0,)] * 100)
        took = time.monotonic() - began
        task.using(delay=1_000_000).enqueue(0.0)
        filled = memory(worker)
        due = time.monotonic() + 1.0
        short = task.using(delay=1.0).enqueue(0.0)
        wait_until(lambda: short.id in effects(tmp_path), "the short one has run")
        late = time.monotonic() - due
        came_due = effects(tmp_path).total() - len(warm) - 1
        after = memory(worker)
        assert worker.stop() == 0
    app.close()
    with capsys.disabled():
        print(
            f"\n{MANY} delayed jobs, enqueued in {took:.0f} s: the worker had {before:.1f} MB before, "
            f"{filled:.1f} MB with them, {after:.1f} MB when {came_due} of them had come due; "
            f"a job due in 1 s, behind one of a million seconds, ran {late:.2f} s after it was due"
        )
    assert max(filled, after) - before < 15
    assert late < 5.0


@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(120)
def test_each_delayed_job_runs_once_and_none_before_it_is_due(rabbit_url: str, tmp_path: Path) -> None:
    app = Backburner(rabbit_url)
    task = app.named("fault_tasks.on_time")
    with node(tmp_path, environment={"FAULTS_URL": rabbit_url}) as worker:
        worker.wait_ready()
        jobs = []
        for delay in [random.uniform(1.0, SOON) for _ in range(40)]:
            jobs += task.using(delay=delay).enqueue_many([(time.time() + delay,)] * 50)
        wait_until(lambda: effects(tmp_path).keys() >= {job.id for job in jobs}, "all have come")
        assert worker.stop() == 0
    app.close()
    assert effects(tmp_path) == Counter(job.id for job in jobs)
    assert not (tmp_path / "early.txt").exists()
