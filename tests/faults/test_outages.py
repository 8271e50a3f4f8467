"""The queue's file cannot be written for a while: another program holds it, or the disk is full."""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path

from backburner import Backburner, State
from tests.faults.harness import (
    Node,
    effects,
    is_everything_done,
    node,
    open_gate,
    started,
    stored,
    wait_until,
)

SHORT = {"lease": 2.0, "heartbeat": 0.5}
WORKER = "a worker cannot reach the broker"
SUPERVISOR = "the supervisor cannot reach the broker"


def is_unready(running: Node, *reasons: str) -> bool:
    code, body = running.ask("/ready")
    return code == 503 and set(reasons) <= set(body["reasons"]) <= {WORKER, SUPERVISOR}


def is_ready(running: Node) -> bool:
    return running.ask("/ready") == (200, {"ready": True, "reasons": []})


def assert_nothing_was_lost_or_repeated(app: Backburner, folder: Path, jobs: int) -> None:
    found = stored(app)
    assert {(job.state, job.attempt, job.crashes) for job in found} == {(State.SUCCEEDED, 1, 0)}
    assert effects(folder) == {job.id: 1 for job in found}
    assert len(found) == jobs


def test_a_database_that_another_program_locks_for_longer_than_the_lease_costs_no_job(
    app: Backburner, tmp_path: Path
) -> None:
    for kind in ("gated", "gated_function", "gated_cpu"):
        app.named(f"fault_tasks.{kind}").enqueue_many([("gate",), ("later",)])
    with node(tmp_path, "--health", "127.0.0.1:0", "--cpu-processes", "2", settings=SHORT) as workers:
        wait_until(lambda: started(tmp_path) == 6, "the jobs run")
        wait_until(partial(is_ready, workers), "the node is ready")
        pids = workers.pids()
        app.named("fault_tasks.quick").enqueue_many([(0.01,)] * 200)
        intruder = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
        intruder.execute("BEGIN IMMEDIATE")
        open_gate(tmp_path)
        wait_until(
            partial(is_unready, workers, WORKER, SUPERVISOR), "the node says that it is not ready, and why"
        )
        assert workers.ask("/live")[0] == 200
        intruder.execute("COMMIT")
        intruder.close()
        wait_until(partial(is_ready, workers), "the node is ready again")
        open_gate(tmp_path, "later")
        wait_until(partial(is_everything_done, app), "the jobs are done")
        assert workers.pids() == pids
        assert "is locked by another process for too long" in workers.said()
        assert workers.stop() == 0
    assert_nothing_was_lost_or_repeated(app, tmp_path, 206)


def test_a_disk_that_takes_no_more_costs_no_job_on_any_node(app: Backburner, tmp_path: Path) -> None:
    app.named("fault_tasks.gated").enqueue_many([("gate",)] * 50 + [("later",)] * 50)
    options = ("--health", "127.0.0.1:0", "--concurrency", "50")
    with node(tmp_path, *options, settings=SHORT) as one, node(tmp_path, *options, settings=SHORT) as two:
        nodes = one, two
        wait_until(lambda: started(tmp_path) == 100, "the jobs run")
        for each in nodes:
            wait_until(partial(is_ready, each), "the node is ready")
        pids = one.pids() | two.pids()
        for each in nodes:
            each.limit_files(32 * 1024)  # the database's log is longer: each further write to it fails
        open_gate(tmp_path)
        wait_until(lambda: effects(tmp_path).total() == 50, "half of the jobs end")
        for each in nodes:
            wait_until(partial(is_unready, each, SUPERVISOR), "the node says that it is not ready, and why")
            assert each.ask("/live")[0] == 200
        wait_until(lambda: have_expired(app), "the leases run out")
        for each in nodes:
            each.limit_files(None)
        for each in nodes:
            wait_until(partial(is_ready, each), "the node is ready again")
        open_gate(tmp_path, "later")
        wait_until(partial(is_everything_done, app), "the jobs are done")
        assert one.pids() | two.pids() == pids
        assert "failed to read or write" in one.said()
        assert one.stop() == two.stop() == 0
    assert_nothing_was_lost_or_repeated(app, tmp_path, 100)


def have_expired(app: Backburner) -> bool:
    return all(each.lease_until < app.broker.now() for each in app.inspector.workers())
