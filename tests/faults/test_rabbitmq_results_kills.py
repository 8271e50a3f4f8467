"""RabbitMQ with a results store: both servers and the worker processes are killed, and no job is lost."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from backburner import Backburner, State
from backburner.brokers.rabbitmq.schema import LANES
from tests.faults.harness import (
    effects,
    has_run,
    node,
    produce,
    stored,
    unfinished,
    wait_until,
)
from tests.faults.rabbitmq import messages
from tests.servers.fixtures import installed
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

JOBS = 4000
PRODUCERS = 2
VICTIMS = ("a worker", "rabbit", "a worker", "store", "a worker", "rabbit", "a worker", "store")
"""Killed one after the other, as jobs get done."""
QUEUES = {f"backburner.{lane}.default" for lane in (*LANES, "dead")}
OFTEN = 1000
"""A job that was in hand with many killed workers is no poison pill here."""


@pytest.fixture
def rabbit(tmp_path: Path) -> Iterator[RabbitServer]:
    with installed(partial(RabbitServer, tmp_path / "rabbit")) as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RedisServer]:
    with installed(partial(RedisServer, tmp_path / "store")) as server:
        yield server


@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(180)
def test_every_job_ends_once_and_leaves_no_copy_when_rabbitmq_the_store_and_workers_are_killed(
    rabbit: RabbitServer,
    store: RedisServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BACKBURNER_RESULTS", store.url)
    app = Backburner(rabbit.url)
    app.enqueue("fault_tasks.quick", 0.0)
    options = ("--processes", "2")
    servers = {"rabbit": rabbit, "store": store}
    settings, environment = {"poison_after": OFTEN}, {"FAULTS_URL": rabbit.url}
    with (
        ThreadPoolExecutor(PRODUCERS) as threads,
        node(tmp_path, *options, settings=settings, environment=environment) as workers,
    ):
        workers.wait_ready(2)
        # One that is declared later may be broken by a kill, as `sync` says, and its copies stay for ever.
        wait_until(lambda: messages(rabbit).keys() >= QUEUES, "all queues are there")
        rabbit.sync()
        began = time.monotonic()
        producing = [threads.submit(produce, rabbit.url, JOBS // PRODUCERS) for _ in range(PRODUCERS)]
        for number, victim in enumerate(VICTIMS, 1):
            wait_until(partial(has_run, tmp_path, number * JOBS // (len(VICTIMS) + 2)), "jobs get done")
            if server := servers.get(victim):
                server.kill()
                server.start()
            else:
                random.choice(workers.children()).kill()
        produced = [each.result() for each in producing]
        wait_until(lambda: unfinished(app) == 0, "the backlog is drained")
        drained = time.monotonic()
        wait_until(lambda: sum(messages(rabbit).values()) == 0, "the copies are used up")
        emptied = time.monotonic()
        assert workers.stop() == 0
    found = stored(app)
    app.close()
    returned = {job_id for ids, _ in produced for job_id in ids}
    seen = effects(tmp_path)
    with capsys.disabled():
        print(
            f"\nRabbitMQ with Redis: {len(returned)} jobs in {drained - began:.0f} s, {len(VICTIMS)} "
            f"kills; {sum(count for _, count in produced)} enqueues refused, "
            f"{sum(count > 1 for count in seen.values())} jobs ran more than once; the last copy was used up "
            f"{emptied - drained:.1f} s after the last job had ended"
        )
    assert len(returned) == JOBS
    ids = [job.id for job in found]
    assert len(ids) == len(set(ids))
    assert returned <= set(ids)
    assert {job.state for job in found} == {State.SUCCEEDED}
    assert set(ids) == set(seen)
