"""The broker on RabbitMQ with a results store beside it, which is any of the other brokers.

1. The store decides: what is claimed, in which order, what is a duplicate, whose lease holds. So all that it
   can do can be done here, and it is asked first, always.
2. RabbitMQ has a copy of every job that waits (`copies.py`). It is published when the store has the job:
   before an enqueue returns, and with everything that makes a job wait again. A crash in between leaves a job
   without a copy; it is run all the same.
3. The copies of jobs that wait no more are used up by `stage`, which asks the store about them. A crash
   before that leaves a copy of no use; it is used up later.
4. A store has an identity, and each copy carries that of the store that has its job. A copy of another
   identity is of a job that this store may not know, because it was emptied, or is new: the job is stored,
   and the copy replaced. A copy of this identity whose job is not known is of one that has ended.
5. The identity that a copy carries was read before its job was stored, and the one that copies are compared
   with is read after their jobs were looked for. So a store that is emptied at any moment loses no copy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager

from backburner.brokers.base import (
    Beat,
    Bound,
    Broker,
    Capability,
    Claim,
    Directives,
    Exchange,
    Operation,
    Pruned,
    Recovered,
    Staged,
    Waiter,
)
from backburner.brokers.begun import begun
from backburner.brokers.rabbitmq import address
from backburner.brokers.rabbitmq.driver import Driver
from backburner.brokers.rabbitmq.results_inspector import ResultsInspector
from backburner.brokers.rabbitmq.results_steps import InStore, in_store
from backburner.brokers.rabbitmq.steps import Publish
from backburner.errors import BrokerUnavailable
from backburner.job import JobRecord
from backburner.lifecycle import WAITING, Settlement

SOON = 0.02
"""Seconds until copies are looked at again, where a window was full."""


class RabbitWithResults(ResultsInspector):
    """`Backburner("amqp://…", results="redis://…")`; `results` is the broker that is the store."""

    capabilities = frozenset(Capability) - {Capability.TRANSACTIONS}  # of any store; each adds its own

    def __init__(self, url: str, results: Broker) -> None:
        self.url = url
        self.results = results
        self.capabilities = results.capabilities
        self._driver = Driver(address.read(url), results.now)
        self._begin_copying()

    def now(self) -> float:
        return self.results.now()

    def waiter(self, topics: Sequence[str]) -> AbstractContextManager[Waiter]:
        return self.results.waiter(topics)

    def close(self) -> None:
        self._driver.close()
        self.results.close()

    # The life of a job -------------------------------------------------------------------------------

    def enqueue(self, jobs: Sequence[JobRecord], bounds: Mapping[str, Bound]) -> Operation[list[JobRecord]]:
        store = yield from self._known_as()
        copies = self._copies_of_new(
            jobs, store
        )  # before the store: it may say that RabbitMQ takes no such job
        stored: list[JobRecord] = yield InStore(self.results.enqueue(jobs, bounds))
        # One that was there already and waits may be without a copy: this may be the second try.
        waiting = [
            copy
            for job, kept, copy in zip(jobs, stored, copies, strict=True)
            if kept is job or (kept.id == job.id and kept.state in WAITING)
        ]
        try:
            if waiting:
                yield Publish(waiting)
        except BrokerUnavailable as error:
            raise BrokerUnavailable(
                f"the jobs are stored, and will run: only their copies in RabbitMQ are missing ({error})"
            ) from error
        return stored

    def exchange(self, settlements: Sequence[Settlement], claim: Claim | None) -> Operation[Exchange]:
        if claim is not None:
            self._queues.update(claim.queues)
        going_on = [each for each in settlements if each.state in WAITING or each.follow_ups]
        store = (yield from self._known_as()) if going_on else ""
        exchange: Exchange = yield InStore(self.results.exchange(settlements, claim))
        if going_on:
            undone = {*exchange.lost, *exchange.locked}
            yield from self._copy_settled([each for each in going_on if each.job.id not in undone], store)
        return exchange

    def held(self, worker: str) -> Operation[list[JobRecord]]:
        return in_store(self.results.held(worker))

    def recover(
        self, worker: str, settlements: Sequence[Settlement], known: Collection[str]
    ) -> Operation[Recovered]:
        store = yield from self._known_as()
        recovered: Recovered = yield InStore(self.results.recover(worker, settlements, known))
        yield from self._copy_settled(recovered.applied, store)
        return recovered

    def complete(self, settlement: Settlement) -> Operation[None]:
        return in_store(self.results.complete(settlement))

    def heartbeat(self, beats: Sequence[Beat]) -> Operation[Directives]:
        for beat in beats:
            self._queues.update(beat.queues)
        return in_store(self.results.heartbeat(beats))

    def stage(self, limit: int) -> Operation[Staged]:
        """Nothing is published: the copy of a job that is due comes by itself."""
        staged: Staged = yield InStore(self.results.stage(limit))
        if (yield from self._use_up()):
            soon = self.now() + SOON
            return Staged(staged.count, soon if staged.next_at is None else min(staged.next_at, soon))
        return staged

    def orphans(self, limit: int, workers: Collection[str] | None) -> Operation[list[JobRecord]]:
        # Begun here: it counts when this was asked, not when the store comes to it.
        operation = begun(self.results.orphans(limit, workers))
        found: list[JobRecord] = yield InStore(operation)
        return found

    def prune(self, limit: int, max_dead: int) -> Operation[Pruned]:
        return in_store(self.results.prune(limit, max_dead))

    def note(self, job: JobRecord, progress: bytes | None, checkpoint: bytes | None) -> Operation[bool]:
        return in_store(self.results.note(job, progress, checkpoint))
