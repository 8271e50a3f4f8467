"""A damaged record among good jobs: they run, and it ends among the dead, with a reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from backburner import Backburner, State
from backburner.brokers.base import Filter
from backburner.testing import adrain
from tests.brokers.vandals import PostgresVandal, RedisVandal, SqliteVandal, Vandal
from tests.cli.helpers import Operator
from tests.servers.fixtures import installed
from tests.stores import URLS

VANDALS: dict[str, type[SqliteVandal | PostgresVandal | RedisVandal]] = {
    "sqlite": SqliteVandal,
    "redis": RedisVandal,
    "postgres": PostgresVandal,
}
CASES = [(name, what) for name, kind in VANDALS.items() for what in kind.damages]


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return installed(lambda: URLS[request.param](tmp_path))


@pytest.fixture
def vandal(request: pytest.FixtureRequest, store: str) -> Vandal:
    return VANDALS[request.node.callspec.params["store"]](store)


@pytest.fixture
def app(store: str) -> Iterator[Backburner]:
    app = Backburner(store)

    @app.task(name="good")
    async def good(number: int) -> int:
        return number

    yield app
    app.close()


@pytest.mark.parametrize(("store", "what"), CASES, indirect=["store"])
async def test_the_good_jobs_run_and_the_damaged_one_is_quarantined(
    store: str, vandal: Vandal, app: Backburner, what: str
) -> None:
    before = app.tasks["good"].enqueue_many([(number,) for number in range(3)])
    bad = app.tasks["good"].enqueue(99)
    after = app.tasks["good"].enqueue_many([(number,) for number in range(3, 6)])
    damage = vandal.damages[what]
    vandal.write(bad.id, damage.field, damage.value)
    look_through(app, bad.id)  # before a worker comes, too

    await adrain(app)
    assert [job.result(timeout=0) for job in (*before, *after)] == list(range(6))
    look_through(app, bad.id)
    [dead] = app.inspector.jobs(Filter(states=(State.DEAD,)))
    assert dead.id == bad.id
    assert damage.says in str(dead.reason)
    assert len(str(dead.reason)) < 1000
    # Redis has it buried by the script that meets it, where no worker can be told of it.
    assert [line.outcome for line in app.inspector.history(bad.id)] in (["die"], [])
    assert dead.attempt <= 1
    assert {info.name: info.counts for info in app.inspector.queues()} == {
        "default": {"succeeded": 6, "dead": 1}
    }

    operator = Operator()
    assert bad.id in operator.read("dead", "list", "--url", store)
    assert bad.id in operator.read("jobs", "list", "--url", store)
    assert "dead since" in operator.read("explain", bad.id, "--url", store)
    assert bad.id in operator.read("dead", "show", bad.id, "--url", store)
    assert json.loads(operator.read("dead", "export", "--url", store))["id"] == bad.id
    assert app.inspector.delete([bad.id]) == [bad.id]
    assert app.inspector.jobs(Filter(states=(State.DEAD,))) == []


@pytest.mark.parametrize("store", VANDALS, indirect=True)
async def test_a_job_of_a_newer_version_waits_for_a_worker_of_that(
    store: str, vandal: Vandal, app: Backburner
) -> None:
    bad, later = app.tasks["good"].enqueue_many([(1,), (2,)])
    vandal.write(bad.id, "options", b'{"format":2,"tags":"of another type","after":["another"]}')
    vandal.write(later.id, "options", b'{"tags":["vip"],"what may be ignored":true}')
    await adrain(app)
    assert later.result(timeout=0) == 2
    record = bad.refresh().record
    assert (record.state, record.attempt, record.options.format) == (State.SCHEDULED, 0, 2)
    assert "in format 2, and the worker that claimed it knows 1" in str(record.reason)
    assert "upgrade" in Operator().read("explain", bad.id, "--url", store)
    assert app.inspector.history(bad.id) == []


@pytest.mark.parametrize("store", VANDALS, indirect=True)
def test_a_state_of_a_newer_version_is_shown_and_left_alone(
    store: str, vandal: Vandal, app: Backburner
) -> None:
    bad = app.tasks["good"].enqueue(1)
    vandal.write(bad.id, "state", "paused" if store.startswith("postgres") else b"paused")
    look_through(app, bad.id)
    assert "state: this version knows none but" in Operator().read("explain", bad.id, "--url", store)
    assert app.inspector.delete([bad.id]) == [bad.id]


def look_through(app: Backburner, bad: str) -> None:
    """Whatever a person or a dashboard asks is answered, and the damaged job is among the others."""
    inspector = app.inspector
    assert bad in {job.id for job in inspector.jobs(Filter(limit=100))}
    assert inspector.job(bad).id == bad
    assert inspector.explain(bad).reasons
    inspector.jobs(Filter(tag="vip"))
    inspector.jobs(Filter(error="no such text"))
    inspector.queues()
    inspector.tasks()
    inspector.stats()
    inspector.history(bad)
    [exported] = inspector.export([bad])
    assert json.loads(exported)["id"] == bad
