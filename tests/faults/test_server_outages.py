"""The queue's server dies, stands still, or is not there yet; a node is told to stop meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from backburner import Backburner, State
from backburner.errors import BrokerUnavailable
from tests.faults.harness import is_everything_done, node, open_gate, started, stored, wait_until
from tests.servers.fixtures import installed
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

Server = RedisServer | PostgresServer
SERVERS: dict[str, Callable[[Path], Server]] = {"redis": RedisServer, "postgres": PostgresServer}
SHORT = {"lease": 3.0, "heartbeat": 0.5}
AT_ONCE = 200


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    with installed(partial(SERVERS[request.param], tmp_path / "server")) as server:
        yield server


@pytest.fixture
def url(server: Server) -> str:
    """It is asked again for a second only."""
    found = server.url() if isinstance(server, PostgresServer) else server.url
    return f"{found}?patience=1"


@pytest.fixture
def producer(url: str) -> Iterator[Backburner]:
    app = Backburner(url)
    yield app
    app.close()


def test_a_node_that_starts_without_the_server_waits_for_it(
    server: Server, producer: Backburner, url: str, tmp_path: Path
) -> None:
    job = producer.enqueue("fault_tasks.quick", 0.0)
    server.kill()
    with node(tmp_path, environment={"FAULTS_URL": url}) as workers:
        workers.wait_said("no broker yet: ")
        server.start()
        job.result(timeout=30)
        assert workers.stop() == 0
        assert "Traceback" not in workers.said()


@pytest.mark.parametrize(
    ("server", "trouble"),
    # A PostgreSQL that stands still is waited for 20 s: no other is so slow to be given up.
    [("redis", "kill"), ("redis", "freeze"), ("postgres", "kill")],
    indirect=["server"],
)
def test_a_stop_without_the_server_ends_and_what_ran_goes_to_others(
    server: Server, producer: Backburner, url: str, tmp_path: Path, trouble: str
) -> None:
    producer.named("fault_tasks.gated").enqueue_many([("gate",)] * 10)
    environment = {"FAULTS_URL": url}
    options = ("--grace", "1", "--processes", "2")
    with node(tmp_path, *options, settings=SHORT, environment=environment) as workers:
        workers.wait_ready(2)
        wait_until(lambda: started(tmp_path) == 10, "the jobs run")
        getattr(server, trouble)()
        assert workers.stop() == 0
        said = workers.said()
    assert said.count("wait for its lease to run out") == 2, "of both processes"
    assert "did not end within its grace time" not in said
    assert "Traceback" not in said
    server.thaw()
    server.start()
    open_gate(tmp_path)
    with node(tmp_path, settings=SHORT, environment=environment) as others:
        wait_until(partial(is_everything_done, producer), "the jobs are done")
        assert others.stop() == 0
    assert {job.state for job in stored(producer)} == {State.SUCCEEDED}


def test_a_server_that_stands_still_for_longer_than_the_lease_costs_no_attempt(
    server: Server, producer: Backburner, url: str, tmp_path: Path
) -> None:
    producer.named("fault_tasks.gated").enqueue_many([("gate",)] * 10)
    environment = {"FAULTS_URL": url}
    with (
        node(tmp_path, settings=SHORT, environment=environment) as one,
        node(tmp_path, settings=SHORT, environment=environment) as two,
    ):
        for each in (one, two):
            each.wait_ready()
        wait_until(lambda: started(tmp_path) == 10, "the jobs run")
        began = time.monotonic()
        server.freeze()
        wait_until(lambda: time.monotonic() - began > 2 * SHORT["lease"], "the leases have run out")
        server.thaw()
        open_gate(tmp_path)
        wait_until(partial(is_everything_done, producer), "the jobs are done")
        assert one.stop() == two.stop() == 0
    found = stored(producer)
    assert {(job.state, job.attempt, job.crashes) for job in found} == {(State.SUCCEEDED, 1, 0)}


def test_a_node_that_the_server_refuses_ends_and_says_why(tmp_path: Path) -> None:
    with installed(partial(RedisServer, tmp_path / "server", password="right")) as server:
        url = server.url.replace("right", "wrong")
        with node(tmp_path, environment={"FAULTS_URL": url}) as refused:
            assert refused.process.wait(20) == 1
            assert "refuses the user or the password: correct them in the URL" in refused.said()
            assert "wrong" not in refused.said()


async def test_a_long_line_of_requests_is_refused_when_patience_is_over(
    server: Server, producer: Backburner
) -> None:
    """They wait for a few threads: each with a patience of its own, the last would wait for minutes."""
    task = producer.named("fault_tasks.quick")
    await task.aenqueue(0.0)
    server.kill()
    began = time.monotonic()
    answers = await asyncio.gather(*[task.aenqueue(0.0) for _ in range(AT_ONCE)], return_exceptions=True)
    assert {type(each) for each in answers} == {BrokerUnavailable}
    assert time.monotonic() - began < AT_ONCE / 20, "ten threads, one after the other: 20 s"
