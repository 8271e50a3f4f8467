"""The way from a node to its server is slow, or its connections are half-open: the other end vanished."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from backburner import Backburner
from tests.faults.brokers import url_of
from tests.faults.harness import effects, node, wait_until
from tests.servers.proxy import Proxy

SETTINGS = {"lease": 10.0, "heartbeat": 1.0}


@pytest.fixture(params=["redis", "postgres", "rabbitmq"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    found = url_of(request.param, request, tmp_path)
    return f"{found}?heartbeat=1" if request.param == "rabbitmq" else found


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    port = int(url.partition("127.0.0.1:")[2].partition("/")[0])
    with Proxy(port) as proxy:
        yield proxy


def have_run(folder: Path, ids: set[str]) -> bool:
    return ids <= effects(folder).keys()


def enqueue(app: Backburner, count: int) -> set[str]:
    return {job.id for job in app.named("fault_tasks.quick").enqueue_many([(0.0,)] * count)}


@pytest.mark.long
@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("trouble", ["slow", "half-open"])
def test_a_node_runs_all_jobs_behind_a_bad_network(
    trouble: str, url: str, proxy: Proxy, tmp_path: Path
) -> None:
    near = Backburner(url)
    with node(tmp_path, settings=SETTINGS, environment={"FAULTS_URL": proxy.url(url)}) as workers:
        workers.wait_ready()
        first = enqueue(near, 50)
        wait_until(partial(have_run, tmp_path, first), "jobs run")
        pids = workers.pids()
        if trouble == "slow":
            proxy.delay(0.15)
        else:
            proxy.strand()
        then = enqueue(near, 50)
        wait_until(partial(have_run, tmp_path, then), "jobs run after that", patience=60)
        proxy.delay(0)
        assert workers.pids() == pids
        assert workers.stop() == 0
    near.close()
    assert trouble == "half-open" or set(effects(tmp_path).values()) == {1}
