"""Effects exactly once: workers are killed again and again while jobs complete in their own transactions."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import psutil
import psycopg
import pytest

from backburner import Backburner, State
from tests.faults.harness import node, stored, unfinished, wait_until
from tests.servers.postgres import PostgresServer

JOBS = {"sqlite": 1_000, "postgres": 10_000}
BETWEEN = {"sqlite": 100, "postgres": 400}
"""Jobs that end between two kills."""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/jobs.db"
    else:
        with PostgresServer(tmp_path / "postgres") as server:
            yield server.url()


def rows(url: str, statement: str) -> list[tuple[str]]:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as lite, lite:
            return lite.execute(statement).fetchall()
    with psycopg.connect(url) as postgres:
        found = postgres.execute(statement)
        return found.fetchall() if found.description else []


@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(300)
def test_each_effect_happens_once_however_often_workers_are_killed(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "sqlite" if url.startswith("sqlite") else "postgres"
    app = Backburner(url)
    half = [()] * (JOBS[name] // 2)
    jobs = app.named("fault_tasks.complete").enqueue_many(half)
    other = "complete" if name == "sqlite" else "acomplete"
    jobs += app.named(f"fault_tasks.{other}").enqueue_many(half)
    rows(url, "CREATE TABLE effects (job TEXT)")
    options = ("--processes", "2", "--threads", "4", "--concurrency", "8")
    settings = {"poison_after": 1_000, "retry": {"max_attempts": 1_000, "first": 0.1, "factor": 1.0}}
    kills = 0
    with node(tmp_path, *options, settings=settings, environment={"FAULTS_URL": url}) as workers:
        workers.wait_ready(2)
        while left := unfinished(app):
            wait_until(partial(has_at_most, app, max(left - BETWEEN[name], 0)), "jobs get done")
            with suppress(psutil.NoSuchProcess, IndexError):
                random.choice(workers.children()).kill()
                kills += 1
    found = stored(app)
    app.close()
    seen = Counter(row[0] for row in rows(url, "SELECT job FROM effects"))
    again = sum(job.token > 1 for job in found)
    with capsys.disabled():
        print(f"\n{name}: {len(jobs)} completions, {kills} kills, {again} jobs were claimed more than once")
    assert kills >= 5
    assert {job.state for job in found} == {State.SUCCEEDED}
    assert seen == {job.id: 1 for job in jobs}


def has_at_most(app: Backburner, count: int) -> bool:
    return unfinished(app) <= count
