"""The queue's server is killed again and again while jobs are enqueued and run, and connections are cut."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from backburner import Backburner, State
from tests.faults.harness import effects, has_run, node, produce, stored, unfinished, wait_until
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer

JOBS = 20_000
PRODUCERS = 4
KILLS = 5
SERVERS: dict[str, Callable[[Path], RedisServer | PostgresServer]] = {
    "redis": RedisServer,
    "postgres": PostgresServer,
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer | PostgresServer]:
    with SERVERS[request.param](tmp_path / "server") as server:
        yield server


def cut_at_random(proxy: Proxy, ended: threading.Event) -> int:
    """Reset every connection now and then, until told that it is enough; how often that was."""
    cuts = 0
    while not ended.wait(random.uniform(0.1, 0.6)):
        proxy.cut()
        cuts += 1
    return cuts


@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(300)
def test_no_job_is_lost_and_none_is_stored_twice_when_the_server_is_killed(
    server: RedisServer | PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = threading.Event()
    with Proxy(server.port) as proxy, ThreadPoolExecutor(PRODUCERS + 1) as threads:
        url = proxy.url(server.url() if isinstance(server, PostgresServer) else server.url)
        app = Backburner(url)
        app.enqueue("fault_tasks.quick", 0.0)  # the schema is there before anything else is
        options = ("--processes", "2", "--health", "127.0.0.1:0")
        with node(tmp_path, *options, environment={"FAULTS_URL": url}) as workers:
            workers.wait_ready(2)
            pids = workers.pids()
            producing = [threads.submit(produce, url, JOBS // PRODUCERS) for _ in range(PRODUCERS)]
            cutting = threads.submit(cut_at_random, proxy, ended)
            outages = []
            for kill in range(1, KILLS + 1):
                wait_until(partial(has_run, tmp_path, kill * JOBS // (KILLS + 3)), "jobs get done")
                server.kill()
                began = time.monotonic()
                wait_until(lambda: workers.ask("/ready")[0] == 503, "the node says that it is not ready")
                assert workers.ask("/live")[0] == 200
                server.start()
                outages.append(time.monotonic() - began)
            restarted = time.monotonic()
            ended.set()
            cuts = cutting.result()
            produced = [each.result() for each in producing]
            enqueued = time.monotonic()
            backlog = unfinished(app)
            wait_until(lambda: unfinished(app) == 0, "the backlog is drained")
            drained = time.monotonic()
            wait_until(lambda: workers.ask("/ready")[0] == 200, "the node is ready again")
            assert workers.pids() == pids, "the same processes as before"
            assert workers.stop() == 0
        found = stored(app)
        app.close()
    returned = {job_id for ids, _ in produced for job_id in ids}
    seen = effects(tmp_path)
    again = sum(count > 1 for count in seen.values())
    refused = sum(count for _, count in produced)
    away = ", ".join(f"{each:.1f}" for each in outages)
    with capsys.disabled():
        print(
            f"\n{type(server).__name__}: {len(returned)} jobs, {KILLS} kills, {cuts} times all cut, "
            f"{refused} enqueues refused; {again} jobs ran more than once; the server was away for {away} s; "
            f"after the last one the producers took {enqueued - restarted:.1f} s, and the backlog, by then "
            f"{backlog}, was drained after {drained - restarted:.1f} s"
        )
    assert len(returned) == JOBS
    ids = [job.id for job in found]
    assert len(ids) == len(set(ids))
    assert returned <= set(ids)
    assert {job.state for job in found} == {State.SUCCEEDED}
    assert set(ids) == set(seen)
