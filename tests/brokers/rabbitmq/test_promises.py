"""What docs/brokers/rabbitmq.md says of priorities, delays, periodic tasks and prefixes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from backburner.brokers.base import StoredSchedule
from backburner.brokers.rabbitmq.broker import RabbitBroker
from backburner.errors import BrokerError
from backburner.job import new_id
from backburner.schedule import Schedule
from tests.brokers.rabbitmq.helpers import add, new_job, take

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
