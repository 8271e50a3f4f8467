"""The broker on RabbitMQ alone: a transport. It carries jobs to workers and loses none, and keeps no results.

An operation yields the steps of `steps.py`, which `driver.py` performs. `publisher.py` brings jobs in,
`consumer.py` hands them out, `claims.py` ends them; `schema.py` says which queues there are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from backburner import lifecycle
from backburner.brokers.base import (
    Bound,
    Capability,
    Claim,
    Exchange,
    Operation,
    Recovered,
    Waiter,
)
from backburner.brokers.rabbitmq import address
from backburner.brokers.rabbitmq.driver import Driver
from backburner.brokers.rabbitmq.inspector import RabbitInspector
from backburner.brokers.rabbitmq.steps import Applied, Enter, Held, Trade
from backburner.brokers.rabbitmq.waiter import WorkWaiter
from backburner.job import JobRecord
from backburner.lifecycle import Settlement

T = TypeVar("T")
QUEUE = "queue:"


class RabbitBroker(RabbitInspector):
    """`amqp://user:password@host:5672/vhost`, or another form of `address.py`."""

    def __init__(self, url: str, clock: Callable[[], float] | None = None) -> None:
        self.url = url
        self._driver = Driver(address.read(url), clock)

    # Performing operations ---------------------------------------------------------------------------

    def run(self, operation: Operation[T]) -> T:
        return self._driver.run(operation)

    def arun(self, operation: Operation[T]) -> Awaitable[T]:
        return self._driver.arun(operation)

    def now(self) -> float:
        return self._driver.clock()

    @contextmanager
    def waiter(self, topics: Sequence[str]) -> Iterator[Waiter]:
        waiter = WorkWaiter([topic.removeprefix(QUEUE) for topic in topics if topic.startswith(QUEUE)])
        self._driver.listen(waiter)
        try:
            yield waiter
        finally:
            self._driver.unlisten(waiter)

    def close(self) -> None:
        self._driver.close()

    # The life of a job -------------------------------------------------------------------------------

    def enqueue(self, jobs: Sequence[JobRecord], bounds: Mapping[str, Bound]) -> Operation[list[JobRecord]]:
        now = self.now()
        for job in jobs:
            if job.key is not None:
                raise self.unsupported(Capability.UNIQUE)
            if job.queue in bounds:
                raise self.unsupported(Capability.BOUNDED)
            lifecycle.entered(job, now)
        yield Enter(jobs, now)
        return [*jobs]

    def exchange(self, settlements: Sequence[Settlement], claim: Claim | None) -> Operation[Exchange]:
        exchange: Exchange = yield Trade(settlements, claim)
        return exchange

    def held(self, worker: str) -> Operation[list[JobRecord]]:
        """Those that this process holds for it."""
        found: list[JobRecord] = yield Held(worker)
        return found

    def recover(
        self, worker: str, settlements: Sequence[Settlement], known: Collection[str]
    ) -> Operation[Recovered]:
        """What was not acknowledged is delivered again, to whom it may."""
        return Recovered([], (yield Applied(settlements)))
