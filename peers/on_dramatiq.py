"""dramatiq, at least once as it is by default; on RabbitMQ with confirms, on Redis with a short heartbeat."""

from __future__ import annotations

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

from peers import effects

if effects.URL.startswith("redis"):
    broker = RedisBroker(url=effects.URL, heartbeat_timeout=10_000)
else:
    broker = RabbitmqBroker(url=effects.URL, confirm_delivery=True)
dramatiq.set_broker(broker)


@dramatiq.actor  # type: ignore[untyped-decorator]  # without types
def work(number: int) -> None:
    effects.work(number)


def enqueue(number: int) -> None:
    work.send(number)
