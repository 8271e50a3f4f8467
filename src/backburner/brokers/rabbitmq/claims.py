"""The claims of this process on RabbitMQ alone: which delivery is behind which attempt, and how each ends.

1. A settlement finds its delivery by the job's id, if the token fits. If there is none, or its channel has
   ended, the job went to others: the settlement is refused.
2. What leaves nothing to keep is acknowledged at once. The rest is published first. When that fails the
   worker is told of an error, and `recover` says what had been acknowledged.
3. What a lost connection took away is told with the next exchange, so that the worker can stop those
   attempts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from backburner.brokers.base import Claim, Exchange
from backburner.brokers.rabbitmq import message
from backburner.brokers.rabbitmq.consumer import Consumer
from backburner.brokers.rabbitmq.message import Message
from backburner.brokers.rabbitmq.publisher import Publisher
from backburner.brokers.rabbitmq.schema import Schema
from backburner.brokers.rabbitmq.shelf import Delivery
from backburner.errors import BackburnerError, BrokerError
from backburner.job import JobRecord
from backburner.lifecycle import Attempt, Settlement, State, entered


class Claims:
    """All of it runs on the background's loop."""

    def __init__(
        self, schema: Schema, consumer: Consumer, publisher: Publisher, clock: Callable[[], float]
    ) -> None:
        self._schema = schema
        self._consumer = consumer
        self._publisher = publisher
        self._clock = clock
        self._held: dict[str, Delivery] = {}
        """By the job's id."""
        self._applied: set[tuple[str, int]] = set()
        """Settled in an exchange that then failed."""
        self._gone: list[str] = []
        """Jobs that a lost connection took away, and that was not told yet."""

    async def exchange(self, settlements: Sequence[Settlement], claim: Claim | None) -> Exchange:
        """Raises `BrokerError`; nothing is claimed then."""
        self._gone += self._voided()
        lost: list[str] = []
        quick: dict[str, Delivery] = {}
        kept: dict[str, tuple[Delivery, list[Message]]] = {}
        for each in settlements:
            job_id = each.job.id
            delivery = self._held.get(job_id)
            stale = delivery is not None and delivery.received.job.token != each.job.token
            if delivery is None or stale or job_id in quick or job_id in kept:
                lost.append(job_id)
            elif messages := self._messages(each, delivery):
                kept[job_id] = delivery, messages
            else:
                quick[job_id] = delivery
        settled = [(each.received.job.id, each.received.job.token) for each in quick.values()]
        self._settle(quick)
        try:
            await self._publisher.publish([each for _, messages in kept.values() for each in messages])
            settled += [(each.received.job.id, each.received.job.token) for each, _ in kept.values()]
            self._settle({job_id: delivery for job_id, (delivery, _) in kept.items()})
            jobs = await self._claim(claim) if claim is not None else []
        except BrokerError:
            self._applied.update(settled)
            raise
        gone, self._gone = self._gone, []
        return Exchange(jobs, gone + lost)

    def held(self, worker: str) -> list[JobRecord]:
        jobs = [delivery.received.job for delivery in self._held.values() if self._consumer.holds(delivery)]
        return [job for job in jobs if job.worker == worker]

    def applied(self, settlements: Sequence[Settlement]) -> list[Settlement]:
        """Those of an exchange that failed which had been done."""
        done, self._applied = self._applied, set()
        return [each for each in settlements if (each.job.id, each.job.token) in done]

    async def _claim(self, claim: Claim) -> list[JobRecord]:
        jobs = []
        self._consumer.poison_after = claim.poison_after
        for delivery in await self._consumer.take(claim.queues, claim.limit, claim.exclude):
            job = delivery.received.job
            if (held := self._held.get(job.id)) is not None:
                if self._consumer.holds(held) and job.token < held.received.job.token:
                    # Published twice, since a confirm was lost: the one in hand is enough.
                    self._consumer.settle([delivery])
                    continue
                if self._consumer.holds(held):
                    # What comes after the attempt in hand, which another exchange is about to settle.
                    self._consumer.untake([delivery])
                    continue
                self._gone.append(job.id)  # its connection was lost in this very exchange
            job.state, job.worker, job.started_at = State.RUNNING, claim.worker, self._clock()
            job.attempt += 1
            job.token += 1
            self._held[job.id] = delivery
            jobs.append(job)
        return jobs

    def _voided(self) -> list[str]:
        """Jobs that a lost connection took away."""
        if self._consumer.holds_all():
            return []
        gone = [job_id for job_id, delivery in self._held.items() if not self._consumer.holds(delivery)]
        for job_id in gone:
            del self._held[job_id]
        return gone

    def _settle(self, deliveries: Mapping[str, Delivery]) -> None:
        for job_id in deliveries:
            self._held.pop(job_id, None)
        self._consumer.settle([*deliveries.values()])

    @staticmethod
    def _history(settlement: Settlement, delivery: Delivery) -> list[Attempt]:
        return [*delivery.received.history, *([settlement.log] if settlement.log else [])]

    def _messages(self, settlement: Settlement, delivery: Delivery) -> list[Message]:
        """What is to be kept of a job when its claim ends so.

        It is dead if RabbitMQ cannot take that, as of a snooze for ten years: it never could.
        """
        try:
            return self._kept(settlement, delivery)
        except BackburnerError as error:
            now = self._clock()
            job = replace(message.after(settlement.job, settlement), state=State.DEAD, finished_at=now)
            job.reason = str(error)[:500]
            return [message.dead(self._schema, job, now, history=self._history(settlement, delivery))]

    def _kept(self, settlement: Settlement, delivery: Delivery) -> list[Message]:
        now, schema = self._clock(), self._schema
        new = [message.of(schema, entered(job, now), now) for job in settlement.follow_ups]
        if settlement.state in (State.SUCCEEDED, State.CANCELLED):
            return new
        job = message.after(settlement.job, settlement)
        history, beyond = self._history(settlement, delivery), delivery.received.beyond
        if settlement.state is State.DEAD:
            return [message.dead(schema, job, now, history=history), *new]
        if settlement.state is State.QUEUED:
            suspect = self._consumer.suspects(job.crashes)
            return [message.returned(schema, job, suspect=suspect, history=history, beyond=beyond), *new]
        return [message.of(schema, job, now, history=history, beyond=beyond), *new]
