"""The claims of this process on RabbitMQ alone: which delivery is behind which attempt, and how each ends.

1. A settlement finds its delivery by the job's id and token. If there is none, or its channel has ended, the
   job went to others: the settlement is refused.
2. What leaves nothing to keep is acknowledged at once. The rest is published first. When that fails the
   worker is told of an error, and `recover` says what had been acknowledged.
3. What a lost connection took away is told with the next exchange, so that the worker can stop those
   attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from backburner.brokers.base import Claim, Exchange
from backburner.brokers.rabbitmq import message
from backburner.brokers.rabbitmq.consumer import Consumer
from backburner.brokers.rabbitmq.message import Message
from backburner.brokers.rabbitmq.publisher import Publisher
from backburner.brokers.rabbitmq.schema import Schema
from backburner.brokers.rabbitmq.shelf import Delivery
from backburner.errors import BrokerError
from backburner.job import JobRecord
from backburner.lifecycle import Settlement, State, entered

Key = tuple[str, int]


class Claims:
    """All of it runs on the background's loop."""

    def __init__(
        self, schema: Schema, consumer: Consumer, publisher: Publisher, clock: Callable[[], float]
    ) -> None:
        self._schema = schema
        self._consumer = consumer
        self._publisher = publisher
        self._clock = clock
        self._held: dict[Key, Delivery] = {}
        self._applied: set[Key] = set()
        """Settled in an exchange that then failed."""

    async def exchange(self, settlements: Sequence[Settlement], claim: Claim | None) -> Exchange:
        """Raises `BrokerError`; nothing is claimed then."""
        lost = self._voided()
        quick: dict[Key, Delivery] = {}
        kept: dict[Key, tuple[Delivery, list[Message]]] = {}
        for each in settlements:
            key = (each.job.id, each.job.token)
            delivery = self._held.get(key)
            if delivery is None or key in quick or key in kept:
                lost.append(each.job.id)
            elif messages := self._messages(each, delivery):
                kept[key] = delivery, messages
            else:
                quick[key] = delivery
        self._settle(quick)
        settled = [*quick]
        try:
            await self._publisher.publish([each for _, messages in kept.values() for each in messages])
            self._settle({key: delivery for key, (delivery, _) in kept.items()})
            settled += kept
            jobs = await self._claim(claim) if claim is not None else []
        except BrokerError:
            self._applied.update(settled)
            raise
        return Exchange(jobs, lost)

    def held(self, worker: str) -> list[JobRecord]:
        jobs = [delivery.received.job for delivery in self._held.values() if self._consumer.holds(delivery)]
        return [job for job in jobs if job.worker == worker]

    def applied(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Those of an exchange that failed which had been done."""
        done, self._applied = self._applied, set()
        return [each for each in settlements if (each.job.id, each.job.token) in done]

    async def _claim(self, claim: Claim) -> list[JobRecord]:
        jobs = []
        for delivery in await self._consumer.take(claim.queues, claim.limit, claim.exclude):
            job = delivery.received.job
            job.state, job.worker, job.started_at = State.RUNNING, claim.worker, self._clock()
            job.attempt += 1
            job.token += 1
            self._held[job.id, job.token] = delivery
            jobs.append(job)
        return jobs

    def _voided(self) -> list[str]:
        """Jobs that a lost connection took away."""
        gone = [key for key, delivery in self._held.items() if not self._consumer.holds(delivery)]
        for key in gone:
            del self._held[key]
        return [job_id for job_id, _ in gone]

    def _settle(self, deliveries: Mapping[Key, Delivery]) -> None:
        for key in deliveries:
            self._held.pop(key, None)
        self._consumer.settle([*deliveries.values()])

    def _messages(self, settlement: Settlement, delivery: Delivery) -> list[Message]:
        """What is to be kept of a job when its claim ends so."""
        now, schema = self._clock(), self._schema
        new = [message.of(schema, entered(job, now), now) for job in settlement.follow_ups]
        if settlement.state in (State.SUCCEEDED, State.CANCELLED):
            return new
        job = message.after(settlement.job, settlement)
        history = [*delivery.received.history, *([settlement.log] if settlement.log else [])]
        if settlement.state is State.DEAD:
            return [message.dead(schema, job, now, history=history), *new]
        if settlement.state is State.QUEUED:
            return [message.returned(schema, job, history=history), *new]
        return [message.of(schema, job, now, history=history), *new]
