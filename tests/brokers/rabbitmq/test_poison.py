"""A job that kills its workers ends among the dead letters, and what was in hand beside it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from backburner import Backburner, State, lifecycle
from backburner.brokers.base import Filter
from backburner.job import JobRecord
from tests.brokers.rabbitmq.conftest import Connect
from tests.faults.harness import effects, node, wait_until
from tests.servers.rabbitmq import RabbitServer

KINDS = pytest.mark.parametrize("kind", ["quorum", "classic"])


def dead(app: Backburner) -> list[JobRecord]:
    return app.broker.run(app.broker.find(Filter(states=(State.DEAD,), queue="default")))


@KINDS
@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(120)
def test_a_killer_ends_as_a_poison_pill_and_its_neighbours_survive_it(
    rabbit_url: str, tmp_path: Path, kind: str
) -> None:
    url = f"{rabbit_url}?queues={kind}"
    app = Backburner(url)
    neighbours = app.named("fault_tasks.quick").enqueue_many([(0.05,)] * 100)
    killer = app.enqueue("fault_tasks.killer")
    neighbours += app.named("fault_tasks.quick").enqueue_many([(0.05,)] * 100)
    with node(tmp_path, environment={"FAULTS_URL": url}) as workers:
        wait_until(lambda: len(dead(app)) == 1, "the killer is a dead letter")
        wait_until(lambda: effects(tmp_path).keys() == {job.id for job in neighbours}, "the others have run")
        assert workers.said().count("workerdied") == 3
        assert workers.stop() == 0
    [letter] = dead(app)
    assert (letter.id, letter.reason) == (killer.id, "poison pill: its worker died 3 times while it ran")
    app.close()


@KINDS
@pytest.mark.parametrize("poison_after", [1, 2, 3])
def test_what_lay_in_hand_whenever_connections_ended_is_no_poison_pill(
    connect: Connect, rabbit_server: RabbitServer, kind: str, poison_after: int
) -> None:
    """RabbitMQ counts all of a window; from the second time on they come one at a time."""
    process = connect(f"?queues={kind}")
    process.poison_after = poison_after
    jobs = process.add(50)
    for _ in range(4):
        process.claim(50)
        rabbit_server.close_connections("a test")
    found: dict[str, int] = {}
    while len(found) < len(jobs):
        job = process.next()
        found[job.id] = job.crashes
        process.settle(lifecycle.succeeded(job, None, 0.0, keep=0))
    assert sum(crashes >= poison_after for crashes in found.values()) <= 4
