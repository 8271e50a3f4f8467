"""Worker processes that are killed again and again."""

from __future__ import annotations

import random
import time
from collections import Counter
from functools import partial
from pathlib import Path

import psutil
import pytest

from backburner import Backburner, State
from tests.faults.harness import effects, node, stored, unfinished, wait_until

JOBS = 5_000
BETWEEN = 150
"""Jobs that end between two kills."""


@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(180)
def test_no_job_is_lost_and_none_runs_again_for_nothing_when_workers_are_killed(
    app: Backburner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    functions = app.named("fault_tasks.quick_function").enqueue_many([(0.004,)] * (JOBS // 2))
    coroutines = app.named("fault_tasks.quick").enqueue_many([(0.004,)] * (JOBS // 2))
    held: set[str] = set()  # jobs that some worker held when it was killed
    recoveries: list[float] = []
    kills = 0
    with node(tmp_path, "--processes", "2", "--concurrency", "4", "--threads", "4") as workers:
        workers.wait_ready(2)
        while left := unfinished(app):
            # A while of undisturbed work, lest nothing gets done between two kills.
            wait_until(partial(has_at_most, app, max(left - BETWEEN, 0)), "jobs get done")
            victim = random.choice(workers.children() or [None])
            if victim is None or not stands_still(victim):
                continue
            running = [job for job in stored(app) if job.state is State.RUNNING]
            mine = {job.id for job in running if f"-{victim.pid}-" in (job.worker or "")}
            held |= mine
            victim.kill()
            killed_at = time.monotonic()
            kills += 1
            wait_until(partial(taken_over, app, mine, victim.pid), "its jobs go to others")
            if mine:
                recoveries.append(time.monotonic() - killed_at)
    with capsys.disabled():
        recoveries.sort()
        print(
            f"\n{kills} kills, {len(held)} jobs held by the killed, running elsewhere after "
            f"{recoveries[len(recoveries) // 2]:.3f} s (median), {recoveries[-1]:.3f} s (longest)"
        )
    assert kills >= 5
    seen = effects(tmp_path)
    assert {job.state for job in stored(app)} == {State.SUCCEEDED}
    assert set(seen) == {job.id for job in (*functions, *coroutines)}
    assert {job_id for job_id, count in seen.items() if count > 1} <= held


def has_at_most(app: Backburner, count: int) -> bool:
    return unfinished(app) <= count


def stands_still(victim: psutil.Process) -> bool:
    """Stop it, so that what it holds is known exactly when it dies; False if it is dead already."""
    try:
        victim.suspend()
        wait_until(lambda: victim.status() == psutil.STATUS_STOPPED, "the victim stands still")
    except psutil.NoSuchProcess:
        return False
    return True


def taken_over(app: Backburner, ids: set[str], pid: int) -> bool:
    """Whether each of these jobs has started elsewhere: it runs under another worker, or has ended."""
    found = app.broker.run(app.broker.get(sorted(ids))) if ids else []
    return all(
        job.state is not State.QUEUED and (job.finished_at or f"-{pid}-" not in (job.worker or ""))
        for job in found
    )


@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(120)
def test_a_killer_ends_as_a_poison_pill_and_its_neighbours_survive_it(
    app: Backburner, tmp_path: Path
) -> None:
    neighbours = app.named("fault_tasks.quick").enqueue_many([(0.05,)] * 100)
    killer = app.enqueue("fault_tasks.killer")
    neighbours += app.named("fault_tasks.quick").enqueue_many([(0.05,)] * 100)
    with node(tmp_path, "--drain") as workers:
        assert workers.process.wait(90) == 0, workers.said()
    assert killer.refresh().state is State.DEAD
    assert "poison pill" in (killer.record.reason or "")
    assert [attempt.outcome for attempt in killer.history()] == ["crash", "crash", "poison"]
    heard = Counter((tmp_path / "events.txt").read_text().split())
    assert heard == {"WorkerDied": 3, "Died": 1}, "the app's handlers hear of what the supervisor saw"
    assert {job.refresh().state for job in neighbours} == {State.SUCCEEDED}
