"""Of three RabbitMQ nodes one is cut off: from everybody, or from the others while its clients reach it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from backburner import Backburner
from tests.faults.harness import effects, has_run, node, produce, wait_until
from tests.faults.rabbitmq import DEAD, dead_letters, jobs_left, messages
from tests.servers.fixtures import installed
from tests.servers.rabbitmq_cluster import ClusterNode, RabbitCluster

JOBS = 3_000
MORE = 300
"""Enqueued while the node is cut off."""
Cut = Callable[[RabbitCluster, ClusterNode], None]
CUTS: dict[str, tuple[Cut, Cut]] = {
    "everybody": (lambda _, lost: lost.place.unplug(), lambda _, lost: lost.place.plug_in()),
    "its peers": (RabbitCluster.part, RabbitCluster.join),
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitCluster]:
    with installed(partial(RabbitCluster, tmp_path_factory.mktemp("cluster"))) as cluster:
        yield cluster


def have_run(folder: Path, ids: set[str]) -> bool:
    return ids <= effects(folder).keys()


@pytest.mark.long
@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(150)
@pytest.mark.parametrize("apart", CUTS)
def test_work_goes_on_while_one_of_three_nodes_is_cut_off_and_nothing_is_lost(
    cluster: RabbitCluster, tmp_path: Path, apart: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cut, heal = CUTS[apart]
    url = f"{cluster.url}?heartbeat=2&patience=20"
    app = Backburner(url)
    returned = {app.enqueue("fault_tasks.quick", 0.0).id}
    environment = {"FAULTS_URL": url}
    with (
        ThreadPoolExecutor(2) as threads,
        node(tmp_path, environment=environment) as one,
        node(tmp_path, environment=environment) as two,
    ):
        one.wait_ready()
        two.wait_ready()
        producing = [threads.submit(produce, url, JOBS // 2) for _ in range(2)]
        wait_until(partial(has_run, tmp_path, JOBS // 10), "jobs get done")
        lost = cluster.leader("backburner.normal.default")
        rest = [member for member in cluster.members if member is not lost]
        cut(cluster, lost)
        began = time.monotonic()
        wait_until(lambda: cluster.sees(rest[0]) == 2, "the others miss it")
        missed = time.monotonic() - began
        produced = [produce(url, MORE)]
        wait_until(partial(have_run, tmp_path, set(produced[0][0])), "jobs run that were enqueued meanwhile")
        worked = time.monotonic() - began
        produced += [each.result() for each in producing]
        heal(cluster, lost)
        cluster.wait_ready()
        # Each worker ends once: RabbitMQ 3.10 may lose acknowledgements while a queue elects its leader, and
        # gives such a job to another worker when the connection ends on which it was delivered.
        assert one.stop() == 0
        produced.append(produce(url, MORE))
        wait_until(partial(have_run, tmp_path, set(produced[-1][0])), "the other one is at work")
        with node(tmp_path, environment=environment) as three:
            three.wait_ready()
            assert two.stop() == 0
            # It also forgets, until the next election, what a consumer held that had been cancelled on a node
            # that was cut off: a worker replaces its consumers when its window changes.
            for name, count in messages(rest[0]).items():
                if count and name != DEAD:
                    cluster.elect(name)
            wait_until(lambda: jobs_left(rest[0]) == 0, "the backlog is drained")
            assert three.stop() == 0
    dead = dead_letters(app)
    app.close()
    returned.update(job_id for ids, _ in produced for job_id in ids)
    seen = effects(tmp_path)
    refused, again = sum(count for _, count in produced), sum(count > 1 for count in seen.values())
    with capsys.disabled():
        print(
            f"\nRabbitMQ, a node cut off from {apart}: {len(returned)} jobs; it was missed after "
            f"{missed:.1f} s, and what came then had run after {worked:.1f} s; {refused} enqueues refused, "
            f"{again} jobs ran more than once, {len(dead)} are dead letters"
        )
    assert returned <= seen.keys() | dead.keys()
    assert all("poison pill" in reason for reason in dead.values()), dead
