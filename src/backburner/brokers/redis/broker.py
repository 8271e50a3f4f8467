"""The broker on Redis or Valkey: one server, one with replicas behind Sentinels, or a Cluster.

An operation yields the steps of `steps.py`, each a script of the folder `scripts`. `driver.py` performs them,
`schema.py` reads rows as records, `inspector.py` has the operations for people, `wake.py` wakes who waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

import msgspec

from backburner import lifecycle
from backburner.brokers import flaws
from backburner.brokers.base import (
    Beat,
    Bound,
    Capability,
    Claim,
    Directives,
    Exchange,
    Operation,
    Pruned,
    Staged,
    Waiter,
)
from backburner.brokers.forks import begins_anew
from backburner.brokers.redis import address
from backburner.brokers.redis.driver import Driver
from backburner.brokers.redis.inspector import RedisInspector
from backburner.brokers.redis.schema import new_jobs, pairs, record, settled
from backburner.brokers.redis.steps import Do, DoEnqueue
from backburner.brokers.redis.wake import Wakes
from backburner.job import JobRecord
from backburner.lifecycle import Settlement

T = TypeVar("T")


class RedisBroker(RedisInspector):
    """`redis://HOST:6379/0`, or another form of `address.py`; `?prefix=NAME` begins its keys."""

    capabilities = frozenset(Capability) - {Capability.TRANSACTIONS}

    def __init__(self, url: str, clock: Callable[[], float] | None = None) -> None:
        self.url = url
        self._driver = Driver(address.read(url), clock)
        self._wakes = Wakes(self._driver)
        begins_anew(self)

    # Performing operations ---------------------------------------------------------------------------

    def run(self, operation: Operation[T]) -> T:
        return self._driver.run(operation)

    def arun(self, operation: Operation[T]) -> Awaitable[T]:
        return self._driver.arun(operation)

    def now(self) -> float:
        return self._driver.clock()

    def waiter(self, topics: Sequence[str]) -> AbstractContextManager[Waiter]:
        return self._wakes.listen(topics)

    def close(self) -> None:
        self._wakes.close()
        self._driver.close()

    # The life of a job -------------------------------------------------------------------------------

    def enqueue(self, jobs: Sequence[JobRecord], bounds: Mapping[str, Bound]) -> Operation[list[JobRecord]]:
        if not jobs:
            return []
        reply = None
        if not (bounds and any(job.queue in bounds for job in jobs)):
            reply = yield DoEnqueue(jobs)
        if reply is None:
            limits = {
                name: (bound.max_length, bound.on_full == "drop_oldest", bound.keep)
                for name, bound in bounds.items()
            }
            blobs: list[bytes] = []
            reply = yield Do("enqueue", (new_jobs(jobs, blobs), limits), blobs)
        now, *found = reply
        now = float(now)
        if len(found) > 1:
            queue, depth, drained = found
            bound = bounds[queue.decode()]
            excess = depth + Counter(job.queue for job in jobs)[bound.queue] - bound.max_length
            raise bound.full(depth, excess, drained, now)
        for job in jobs:
            lifecycle.entered(job, now)
        stored = list(jobs)
        for number, row in found[0]:
            stored[number - 1] = record(row)
        return stored

    def exchange(self, settlements: Sequence[Settlement], claim: Claim | None) -> Operation[Exchange]:
        blobs: list[bytes] = []
        groups, quick, rows, order = settled(settlements, blobs)
        wanted = () if claim is None else (claim.worker, claim.queues, claim.limit, claim.exclude)
        lost, given = yield Do("exchange", (groups, quick, rows, *wanted), blobs, again=False)
        jobs = [*map(record, given)]
        if jobs:
            self._driver.clock.saw(jobs[-1].started_at or 0.0)
        damaged = [
            row[-1]
            for row, job in zip(given, jobs, strict=True)
            if job.flaw is not None or flaws.NO_TEXT in job.id
        ]
        if damaged and claim is not None:
            buried = yield Do("bury_held", (claim.worker,), damaged)
            gone = {each.decode(errors="replace") for each in buried}
            jobs = [job for job in jobs if job.id not in gone]
        refused = sorted(order[number - 1] for number in lost)
        return Exchange(jobs, [settlements[place].job.id for place in refused])

    def held(self, worker: str) -> Operation[list[JobRecord]]:
        return [*map(record, (yield Do("held", (worker,))))]

    def heartbeat(self, beats: Sequence[Beat]) -> Operation[Directives]:
        given = [(each.worker, number, each.lease, each.new) for number, each in enumerate(beats, 1)]
        now, lost, cancels = yield Do("heartbeat", given, [*map(msgspec.json.encode, beats)])
        self._driver.clock.saw(float(now))
        cancel = {job.decode(): reason.decode() for job, reason in pairs(cancels)}
        return Directives(cancel, [worker.decode() for worker in lost])

    def stage(self, limit: int) -> Operation[Staged]:
        count, next_at = yield Do("stage", (limit,))
        return Staged(count, None if next_at is None else float(next_at))

    def orphans(self, limit: int, workers: Collection[str] | None) -> Operation[list[JobRecord]]:
        rows = yield Do("orphans", (limit, self.now()) if workers is None else (limit, None, [*workers]))
        return [*map(record, rows)]

    def prune(self, limit: int, max_dead: int) -> Operation[Pruned]:
        deleted, trimmed, dead = yield Do("prune", (limit, max_dead))
        return Pruned(
            deleted,
            {queue.decode(): count for queue, count in pairs(trimmed)},
            {queue.decode(): count for queue, count in pairs(dead)},
        )

    def note(self, job: JobRecord, progress: bytes | None, checkpoint: bytes | None) -> Operation[bool]:
        blobs = [each for each in (progress, checkpoint) if each is not None]
        given = (job.id, job.token, progress is not None and 1, checkpoint is not None and len(blobs))
        return bool((yield Do("note", given, blobs)))
