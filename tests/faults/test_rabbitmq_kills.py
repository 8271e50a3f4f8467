"""RabbitMQ alone: its node, its connections and the worker processes end again and again, and no job is lost.

RabbitMQ cannot tell a job that killed its worker from one that was only in its hands, and counts both. So a
few jobs may end as poison pills here: among the dead letters, where nothing of them is lost.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from backburner import Backburner
from tests.faults.harness import Node, effects, has_run, node, produce, wait_until
from tests.faults.rabbitmq import DEAD, dead_letters, jobs_left, messages
from tests.servers.fixtures import installed
from tests.servers.rabbitmq import RabbitServer

JOBS = 20_000
PRODUCERS = 4
KILLS = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RabbitServer]:
    with installed(partial(RabbitServer, tmp_path / "server")) as server:
        yield server


def close_at_random(server: RabbitServer, ended: threading.Event) -> int:
    """Close all connections from the server's side now and then; how often that was."""
    closed = 0
    while not ended.wait(random.uniform(0.5, 2.0)):
        with suppress(AssertionError):  # the node is away just now
            server.close_connections("a test wants it so")
            closed += 1
    return closed


def kill_at_random(nodes: Sequence[Node], ended: threading.Event) -> int:
    """Kill a worker process now and then; how many."""
    killed = 0
    while not ended.wait(random.uniform(0.5, 2.0)):
        if children := random.choice(nodes).children():
            with suppress(psutil.NoSuchProcess):
                random.choice(children).kill()
                killed += 1
    return killed


@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(240)
def test_no_job_is_lost_when_the_node_connections_and_workers_end(
    server: RabbitServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = threading.Event()
    app = Backburner(server.url)
    broken = app.enqueue("fault_tasks.broken")
    environment = {"FAULTS_URL": server.url}
    with (
        ThreadPoolExecutor(PRODUCERS + 2) as threads,
        node(tmp_path, environment=environment) as one,
        node(tmp_path, environment=environment) as two,
    ):
        one.wait_ready()
        two.wait_ready()
        wait_until(lambda: messages(server).get(DEAD) == 1, "all queues are there")
        server.sync()
        began = time.monotonic()
        producing = [threads.submit(produce, server.url, JOBS // PRODUCERS) for _ in range(PRODUCERS)]
        closing = threads.submit(close_at_random, server, ended)
        killing = threads.submit(kill_at_random, (one, two), ended)
        for kill in range(1, KILLS + 1):
            wait_until(partial(has_run, tmp_path, kill * JOBS // (KILLS + 2)), "jobs get done")
            server.kill()
            server.start()
        restarted = time.monotonic()
        ended.set()
        closed, killed = closing.result(), killing.result()
        produced = [each.result() for each in producing]
        enqueued = time.monotonic()
        backlog = jobs_left(server)
        wait_until(lambda: jobs_left(server) == 0, "the backlog is drained", patience=90.0)
        drained = time.monotonic()
        assert one.stop() == two.stop() == 0, "the same supervisors as before"
    dead = dead_letters(app)
    app.close()
    returned = {job_id for ids, _ in produced for job_id in ids}
    seen = effects(tmp_path)
    refused = sum(count for _, count in produced)
    with capsys.disabled():
        print(
            f"\nRabbitMQ: {len(returned)} jobs in {drained - began:.0f} s, the node killed {KILLS} times, "
            f"its connections closed {closed} times, {killed} workers killed; {refused} enqueues refused, "
            f"{sum(count > 1 for count in seen.values())} jobs ran more than once, {len(dead) - 1} are dead "
            f"letters; after the last start of the node the producers took {enqueued - restarted:.1f} s, and "
            f"the backlog, by then {backlog}, was drained after {drained - restarted:.1f} s"
        )
    assert len(returned) == JOBS
    assert returned <= seen.keys() | dead.keys()
    assert dead.pop(broken.id) == "attempts used up (1 of 1)"
    assert all("poison pill" in reason for reason in dead.values()), dead
    assert len(dead) <= JOBS // 100
    assert jobs_left(server) == 0
