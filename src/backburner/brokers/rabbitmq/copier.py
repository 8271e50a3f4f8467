"""Which copies are made of the jobs in a results store, and which are of use still; `results.py` says why."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from backburner.brokers.base import Operation
from backburner.brokers.rabbitmq import message
from backburner.brokers.rabbitmq.copies import Copy, Look
from backburner.brokers.rabbitmq.message import Message
from backburner.brokers.rabbitmq.performing import Performing
from backburner.brokers.rabbitmq.results_steps import InStore, Keep, LookAt, Renew, Spend, Turn
from backburner.errors import BrokerError
from backburner.job import JobRecord
from backburner.lifecycle import WAITING, Attempt, Settlement, entered

logger = logging.getLogger("backburner")
REMEMBER = 30.0
"""Seconds that the store's identity is believed for new copies."""


class Copier(Performing):
    """Makes copies of what waits, and uses them up."""

    def _begin_copying(self) -> None:
        self._name = ""
        self._name_until = 0.0
        self._queues: set[str] = set()
        """Those that workers of this node are known to serve."""

    def _known_as(self) -> Operation[str]:
        """The store's identity, for copies of what is stored from here on."""
        if time.monotonic() >= self._name_until:
            name: str | None = yield InStore(self.results.identity(), apart=True)
            if name is None:
                return ""
            self._name, self._name_until = name, time.monotonic() + REMEMBER
        return self._name

    def _copy(self, job: JobRecord, store: str, history: Sequence[Attempt] = ()) -> Message:
        return message.of(self._driver.schema, job, self.now(), store=store, history=history)

    def _copies_of_new(self, jobs: Sequence[JobRecord], store: str) -> list[Message]:
        now = self.now()
        return [self._copy(entered(replace(job), now), store) for job in jobs]

    def _copy_settled(self, settlements: Sequence[Settlement], store: str) -> Operation[None]:
        """Copy what these settlements, which were applied, make wait."""
        copies: list[Message] = []
        for each in settlements:
            try:
                if each.state in WAITING:
                    job = message.after(each.job, each)
                    copies.append(self._copy(job, store, [each.log] if each.log else []))
                copies += self._copies_of_new(each.follow_ups, store)
            except BrokerError as error:
                logger.warning("job %s waits without a copy in RabbitMQ: %s", each.job.id, error)
        if copies:
            yield Keep(copies)

    def _copy_new(self, jobs: Sequence[JobRecord], store: str) -> Operation[None]:
        copies = self._copies_of_new(jobs, store)
        if copies:
            yield Keep(copies)

    def _copy_waiting(
        self, jobs: Sequence[JobRecord], store: str, histories: Mapping[str, Sequence[Attempt]] | None = None
    ) -> Operation[None]:
        """Copy those of these jobs that wait, as they are."""
        of = histories or {}
        waiting = [self._copy(job, store, of.get(job.id, ())) for job in jobs if job.state in WAITING]
        if waiting:
            yield Keep(waiting)

    # Using them up -----------------------------------------------------------------------------------

    def _use_up(self) -> Operation[bool]:
        """Acknowledge the copies of no use, and store what the store does not know; whether there is more."""
        look: Look = yield LookAt(self._queues)
        if not look.copies:
            return False
        ids = [*{copy.received.job.id for copy in look.copies}]
        stored: list[JobRecord] = yield InStore(self.results.get(ids))
        store: str = yield InStore(self.results.identity())
        found = {job.id: job for job in stored}
        spent: list[Copy] = []
        kept: list[Copy] = []
        strange: list[Copy] = []
        for copy in look.copies:
            job, mine = copy.received.job, found.get(copy.received.job.id)
            if mine is None and copy.received.store != store:
                strange.append(copy)
            elif mine is not None and mine.state in WAITING and mine.token == job.token:
                kept.append(copy)
            else:
                spent.append(copy)
        if strange:
            new = [copy.received.job for copy in strange]
            histories = {copy.received.job.id: copy.received.history for copy in strange}
            yield InStore(self.results.adopt(new, histories))
        if spent:
            yield Spend(spent)
        stale = strange + [copy for copy in kept if copy.received.store != store]
        if stale:
            yield Renew(stale, store, self.now())
        if look.full and kept and not spent:
            turned: bool = yield Turn(
                [each for each in kept if each.received.store == store], store, self.now()
            )
            return turned
        return look.full and bool(spent)
