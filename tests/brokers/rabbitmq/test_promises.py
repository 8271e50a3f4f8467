"""What docs/brokers/rabbitmq.md says of priorities, delays, periodic tasks and prefixes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from backburner.brokers.base import StoredSchedule
from backburner.brokers.rabbitmq.broker import RabbitBroker
from backburner.errors import BrokerError
from backburner.job import JobRecord, new_id
from backburner.lifecycle import succeeded
from backburner.schedule import Schedule
from tests.brokers.rabbitmq.helpers import add, ask, new_job, publish, take
from tests.servers.rabbitmq import RabbitServer

Connect = Callable[..., RabbitBroker]


@pytest.fixture
def connect(rabbit_url: str) -> Iterator[Connect]:
    made: list[RabbitBroker] = []

    def make(options: str = "") -> RabbitBroker:
        made.append(RabbitBroker(rabbit_url + options))
        return made[-1]

    yield make
    for broker in made:
        broker.close()


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_a_higher_band_comes_first_and_within_one_the_older(connect: Connect, kind: str) -> None:
    broker = connect(f"?queues={kind}")
    priorities = (-100, -50, -49, 0, 1, 49, 50, 100, 10, 99)
    for priority in priorities:
        add(broker, priority=priority)
    claimed = [take(broker)[0].priority for _ in priorities]
    assert claimed == [50, 100, 99, 1, 49, 10, 0, -49, -100, -50]


def test_the_longest_delay(connect: Connect) -> None:
    broker = connect()
    add(broker, delay=2.0**28 - 1)
    with pytest.raises(BrokerError, match="schedule it later"):
        add(broker, delay=2.0**28 + 1)
    assert take(broker) == []


def test_apps_with_another_prefix_do_not_meet(connect: Connect) -> None:
    ours, theirs = connect("?prefix=ours"), connect("?prefix=theirs")
    [job] = add(ours)
    assert take(theirs) == []
    assert [each.id for each in take(ours)] == [job.id]


def periodic(broker: RabbitBroker, patience: int = 2000) -> list[StoredSchedule]:
    """What is given to this process to fire; it may take RabbitMQ a moment."""
    for _ in range(patience):
        if found := broker.run(broker.firing()):
            return found
        take(broker)
    return []


def test_one_process_fires_and_another_goes_on_when_it_ends(connect: Connect) -> None:
    first, second = connect(), connect()
    stored = StoredSchedule(schedule=Schedule(name="nightly", task="t", every=60.0), next_at=1000.0)
    for broker in (first, second):
        broker.run(broker.save_schedule(stored))
        broker.run(broker.firing())
    assert [each.next_at for each in periodic(first)] == [1000.0]
    assert second.run(second.firing()) == []
    job = new_job(id=new_id())
    assert first.run(first.advance_schedule("nightly", 1000.0, 1060.0, [job]))
    assert not second.run(second.advance_schedule("nightly", 1000.0, 1060.0, [job]))
    first.close()
    assert [each.next_at for each in periodic(second)] == [1060.0]


def test_a_purge_of_the_schedules_forgets_them(connect: Connect, rabbit_url: str) -> None:
    """While no worker runs: what one has in hand is not purged."""
    broker = connect()
    stored = StoredSchedule(schedule=Schedule(name="old", task="t", every=60.0), next_at=1000.0)
    broker.run(broker.save_schedule(stored))
    broker.close()
    ask(rabbit_url, "queue_purge", queue="backburner.schedules")
    new = StoredSchedule(schedule=Schedule(name="new", task="t", every=60.0), next_at=1000.0)
    broker.run(broker.save_schedule(new))
    assert [each.schedule.name for each in periodic(broker)] == ["new"]


def test_a_producer_has_one_connection_and_a_worker_two(
    connect: Connect, rabbit_server: RabbitServer, rabbit_url: str
) -> None:
    def connections() -> list[str]:
        listed = rabbit_server.ctl("list_connections", "vhost", "client_properties").splitlines()
        mine = [line for line in listed if line.startswith(rabbit_url.rpartition("/")[2])]
        return sorted(line.partition("backburner ")[2].partition('"')[0] for line in mine)

    add(connect())
    assert connections() == ["publisher"]
    worker = connect()
    take(worker)
    add(worker)
    assert connections() == ["publisher", "publisher", "worker"]


def test_a_stranger_among_the_schedules_harms_nobody(connect: Connect, rabbit_url: str) -> None:
    broker = connect()
    stored = StoredSchedule(schedule=Schedule(name="ours", task="t", every=60.0), next_at=1000.0)
    broker.run(broker.save_schedule(stored))
    add(broker)
    [job] = take(broker)
    publish(rabbit_url, "backburner.schedules", b"hello")
    assert [each.schedule.name for each in periodic(broker)] == ["ours"]
    assert broker.run(broker.exchange([succeeded(job, None, broker.now(), keep=1.0)], None)).lost == []


def test_who_has_stopped_listening_is_forgotten(connect: Connect) -> None:
    """However soon: otherwise jobs would be delivered to a process that no longer asks for them."""
    first, second = connect(), connect()
    for _ in range(20):
        with first.waiter(["queue:default"]):
            pass
    [job] = add(second)
    assert [each.id for each in claimed(second)] == [job.id]


def claimed(broker: RabbitBroker) -> list[JobRecord]:
    with broker.waiter(["queue:default"]) as waiter:
        for _ in range(20):
            if found := take(broker):
                return found
            waiter.wait(1.0)
    return []
