"""A queue moves from each broker to each other one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from backburner import Backburner, Retry, State, current_job
from backburner.brokers.base import Filter
from backburner.copying import copy
from backburner.errors import ConfigError
from backburner.job import JobRecord
from backburner.lifecycle import Attempt
from backburner.testing import adrain
from tests.servers.fixtures import installed
from tests.servers.redis import RedisServer
from tests.stores import URLS

PAIRS = [*itertools.permutations(URLS, 2)]
MANY = 450
"""More than one batch."""


@pytest.fixture(params=PAIRS, ids=" to ".join)
def apps(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Backburner, Backburner]]:
    made = tuple(Backburner(installed(partial(URLS[name], tmp_path))) for name in request.param)
    for app in made:
        declare(app)
    yield made[0], made[1]
    for app in made:
        app.close()


def declare(app: Backburner) -> None:
    @app.task(name="add")
    async def add(a: int, b: int) -> int:
        return a + b

    @app.task(name="fail", retry=Retry(max_attempts=2, first=3600))
    def fail() -> None:
        raise OSError(f"attempt {current_job().attempt}")

    @app.task(name="die", retry=Retry(max_attempts=1))
    def die() -> None:
        raise ValueError("no use")


def life(app: Backburner, job_id: str) -> tuple[JobRecord, list[Attempt]]:
    job = app.job(job_id)
    return replace(job.record, locator=0), job.history()


async def test_each_job_is_afterwards_what_it_was(apps: tuple[Backburner, Backburner]) -> None:
    old, new = apps
    dead, retrying = old.enqueue("die"), old.enqueue("fail")
    await adrain(old)
    scheduled = old.tasks["add"].using(delay=3600, priority=7, tags=["a"], meta={"user": "ü"}).enqueue(1, 2)
    keyed = old.tasks["add"].using(idempotency_key="once", expires=600).enqueue(3, 4)
    line = old.tasks["add"].enqueue_many([(number, 0) for number in range(MANY)])
    moving = [dead.id, retrying.id, scheduled.id, keyed.id, *(job.id for job in line)]
    before = {job_id: life(old, job_id) for job_id in moving}
    assert {record.state for record, _ in before.values()} == {
        State.DEAD,
        State.RETRYING,
        State.SCHEDULED,
        State.QUEUED,
    }

    seen: list[tuple[int, int]] = []
    copied = copy(old.broker, new.broker, lambda done, total: seen.append((done, total)))
    assert (copied.moved, copied.kept, seen[-1]) == (len(moving), [], (len(moving), len(moving)))
    assert {job_id: life(new, job_id) for job_id in moving} == before
    assert old.broker.run(old.broker.find(Filter(limit=10))) == []
    assert copy(old.broker, new.broker).moved == 0

    again = new.tasks["add"].using(idempotency_key="once").enqueue(5, 6)
    assert (again.id, again.duplicate) == (keyed.id, True)
    await adrain(new)
    assert [new.job(job.id).result(timeout=0) for job in line] == [*range(MANY)]
    assert new.job(keyed.id).result(timeout=0) == 7


def test_two_names_of_one_server_are_one_broker(redis_server: RedisServer) -> None:
    app = Backburner(f"{redis_server.url}?prefix=two-names")
    alias = Backburner(f"valkey://localhost:{redis_server.port}?prefix=two-names")
    job = app.enqueue("add", 1, 2)
    with pytest.raises(ConfigError, match="the same broker"):
        copy(app.broker, alias.broker)
    assert job.refresh().state is State.QUEUED
    app.close()
    alias.close()
