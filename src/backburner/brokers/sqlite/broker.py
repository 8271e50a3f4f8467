"""The embedded broker: one SQLite file, many processes of one machine.

An operation yields the steps of `steps.py`, with the statements of `queries.sql`. `database.py` performs
them, `schema.py` reads rows as records, `inspector.py` has the operations for people, `wake.py` wakes who
waits.
"""

from __future__ import annotations

import os
import shutil
import time
import weakref
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import msgspec

from backburner import lifecycle
from backburner.brokers import flaws
from backburner.brokers.base import (
    DRAIN_WINDOW,
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
from backburner.brokers.sqlite import schema
from backburner.brokers.sqlite.database import MEMORY, Database
from backburner.brokers.sqlite.inspector import SqliteInspector
from backburner.brokers.sqlite.steps import Begin, Do, DoMany, Savepoint, Wake
from backburner.brokers.sqlite.wake import Wakes
from backburner.errors import ConfigError
from backburner.job import NO_OPTIONS, JobRecord
from backburner.lifecycle import FINAL, QUEUED, SUCCEEDED, Settlement, State

T = TypeVar("T")


class SqliteBroker(SqliteInspector):
    """`sqlite:///relative.db`, `sqlite:////absolute.db`, or `sqlite://` for one in memory."""

    capabilities = frozenset(Capability)

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self.url = url
        self.path = _path(url)
        self.clock = clock
        beside = os.path.realpath(self.path)  # the log is there, and others may know the file by its own name
        if self.path == MEMORY:  # it has no folder of its own for the pipes of `wake.py`
            import tempfile  # half a megabyte, for those who want it

            beside = tempfile.mkdtemp(prefix="backburner-") + "/memory"
            weakref.finalize(self, _remove, os.path.dirname(beside), os.getpid())
        self._wakes = Wakes(beside)
        self._database = Database(self.path, self._wakes.send)

    # Performing operations ---------------------------------------------------------------------------

    def run(self, operation: Operation[T]) -> T:
        return self._database.run(operation)

    def arun(self, operation: Operation[T]) -> Awaitable[T]:
        return self._database.arun(operation)

    def run_on(self, connection: Any, operation: Operation[T]) -> T:
        return self._database.run_on(connection, operation)

    def now(self) -> float:
        return self.clock()

    def waiter(self, topics: Sequence[str]) -> AbstractContextManager[Waiter]:
        return self._wakes.listen(topics)

    def close(self) -> None:
        self._database.close()

    def migrate(self) -> list[str]:
        return self._database.migrate()

    # The life of a job -------------------------------------------------------------------------------

    def enqueue(self, jobs: Sequence[JobRecord], bounds: Mapping[str, Bound]) -> Operation[list[JobRecord]]:
        yield Begin()
        now = self.now()
        for job in jobs:
            lifecycle.entered(job, now)
        stored = yield from self._insert(jobs)
        ready = dict[str, int]()
        wakes = dict[str, int]()
        for job, kept in zip(jobs, stored, strict=True):
            if kept is not job:
                continue
            if job.state is QUEUED:
                ready[job.queue] = ready.get(job.queue, 0) + 1
            else:
                wakes["stage"] = 1
        for queue, count in ready.items():
            wakes[f"queue:{queue}"] = count
        for queue, count in ready.items():
            if queue in bounds:
                dropped = yield from self._make_room(bounds[queue], count, now)
                wakes |= {f"job:{job_id}": 1 for job_id in dropped}
        yield Wake(wakes)
        return stored

    def _insert(self, jobs: Sequence[JobRecord]) -> Operation[list[JobRecord]]:
        """What is stored for each: itself, or the job that had its id or its key already."""
        if len(jobs) == 1:
            return [(yield from self._insert_one(jobs[0]))]
        rows = [_row(job) for job in jobs]
        yield Savepoint("set")
        if (yield DoMany("enqueue", rows)) == len(rows):
            yield Savepoint("keep")
            return list(jobs)
        # Once more, one by one, to learn which of them were there already.
        yield Savepoint("undo")
        stored = []
        for job in jobs:
            kept = yield from self._insert_one(job)
            stored.append(kept)
        yield Savepoint("keep")
        return stored

    def _insert_one(self, job: JobRecord) -> Operation[JobRecord]:
        if (yield DoMany("enqueue", [_row(job)])):
            return job
        return schema.record((yield Do("enqueue_find", {"id": job.id, "key": job.key}))[0])

    def _make_room(self, bound: Bound, count: int, now: float) -> Operation[list[str]]:
        """Drop what the `count` jobs that were just stored push out; raise `QueueFull`, which undoes them."""
        limit = bound.max_length
        held: int = (yield Do("bound_depth", (bound.queue, limit + count)))[0][0]
        excess = held - limit
        if excess <= 0:
            return []
        if bound.on_full == "drop_oldest" and count <= limit:
            oldest = {"queue": bound.queue, "now": now, "count": excess, "keep": bound.keep}
            rows = yield Do("bound_drop", oldest)
            return [row[0] for row in rows]
        drained: int = (yield Do("bound_drained", (int(now // 60) - DRAIN_WINDOW, bound.queue)))[0][0]
        raise bound.full(held - count, excess, drained, now)

    def exchange(self, settlements: Sequence[Settlement], claim: Claim | None) -> Operation[Exchange]:
        yield Begin()
        lost: list[str] = []
        if settlements:
            applied = yield from self._settle(settlements)
            if len(applied) < len(settlements):
                kept = {id(each) for each in applied}
                lost = [each.job.id for each in settlements if id(each) not in kept]
        jobs: list[JobRecord] = []
        if claim is not None:
            now = self.now()
            for queue in claim.queues:
                left = claim.limit - len(jobs)
                if left <= 0:
                    break
                jobs += yield from self._claim(claim, queue, left, now)
        return Exchange(jobs, lost)

    def _claim(self, claim: Claim, queue: str, limit: int, now: float) -> Operation[list[JobRecord]]:
        wanted = {"worker": claim.worker, "queue": queue, "limit": limit}
        if claim.exclude:
            wanted["exclude"] = msgspec.json.encode(claim.exclude).decode()
        [(seqs,)] = yield Do("claim_next_excluding" if claim.exclude else "claim_next", wanted)
        if seqs == "[]":
            return []
        yield DoMany("claim", [{"worker": claim.worker, "now": now, "seqs": seqs}])
        [(rows,)] = yield Do("claimed", {"seqs": seqs})
        try:
            return schema.claimed(rows, claim.worker, now)
        except flaws.DAMAGE:
            return [schema.record(row) for row in (yield Do("claimed_rows", {"seqs": seqs}))]

    def _settle(self, settlements: Sequence[Settlement]) -> Operation[Sequence[Settlement]]:
        yield Savepoint("set")
        if (yield from self._write(settlements)) < len(settlements):
            # Some were refused: once more, one by one, to learn which.
            yield Savepoint("undo")
            applied = []
            for each in settlements:
                if (yield from self._write([each])):
                    applied.append(each)  # noqa: PERF401 - a comprehension cannot yield
            settlements = applied
        yield Savepoint("keep")
        yield DoMany("settle_rate", _rates(settlements))
        # Named whether or not anybody listens: who begins to before the commit still finds the job running.
        others = [each for each in settlements if each.state is not SUCCEEDED]
        final = [each for each in settlements if each.state in FINAL] if others else settlements
        yield Wake({f"job:{each.job.id}": 1 for each in final})
        logs = [(each.job.id, each.job.token, msgspec.json.encode(each.log)) for each in others if each.log]
        if logs:
            yield DoMany("settle_log", logs)
        if others:
            yield Wake(Counter(f"queue:{each.job.queue}" for each in others if each.state is QUEUED))
            if any(each.state in (State.RETRYING, State.SCHEDULED) for each in others):
                yield Wake({"stage": 1})
        follow_ups = [job for each in settlements for job in each.follow_ups]
        if follow_ups:
            yield from self.enqueue(follow_ups, {})
        return settlements

    def _write(self, settlements: Sequence[Settlement]) -> Operation[int]:
        """Write them where their claims still hold; how many did."""
        written = 0
        for name, rows, common in _settlement_rows(settlements):
            parameters = {"rows": msgspec.json.encode(rows).decode(), **common}
            written += yield DoMany(name, [parameters])
        return written

    def held(self, worker: str) -> Operation[list[JobRecord]]:
        return [schema.record(row) for row in (yield Do("held", (worker,)))]

    def heartbeat(self, beats: Sequence[Beat]) -> Operation[Directives]:
        yield Begin()
        now = self.now()
        lost = []
        for beat in beats:
            name = "heartbeat_new" if beat.new else "heartbeat"
            row = {"worker": beat.worker, "beat": msgspec.json.encode(beat), "now": now}
            row["lease_until"] = now + beat.lease
            if not (yield DoMany(name, [row])):
                lost.append(beat.worker)
        workers = msgspec.json.encode([beat.worker for beat in beats]).decode()
        return Directives(dict((yield Do("heartbeat_cancels", (workers,)))), lost)

    def stage(self, limit: int) -> Operation[Staged]:
        now = self.now()
        rows = yield Do("stage_next")
        if not rows or rows[0][0] > now:
            return Staged(0, rows[0][0] if rows else None)
        yield Begin()
        queues = Counter(f"queue:{row[0]}" for row in (yield Do("stage", (now, limit))))
        yield Wake(queues)
        rows = yield Do("stage_next")
        return Staged(queues.total(), rows[0][0] if rows else None)

    def orphans(self, limit: int, workers: Collection[str] | None) -> Operation[list[JobRecord]]:
        now = self.now()  # before it waits for others to finish
        yield Begin()
        which = {"workers": None if workers is None else msgspec.json.encode([*workers]).decode()}
        yield Do("orphans_expire", {"now": now, **which})
        return [schema.record(row) for row in (yield Do("orphans", {"limit": limit, **which}))]

    def prune(self, limit: int, max_dead: int) -> Operation[Pruned]:
        now = self.now()
        dead: dict[str, int] = dict((yield Do("prune_dead_counts")))
        if not (yield Do("prune_due", (now,))) and all(count <= max_dead for count in dead.values()):
            return Pruned(0, {}, dead)
        yield Begin()
        gone = [row[0] for row in (yield Do("prune", (now, limit)))]
        deleted = len(gone)
        trimmed: dict[str, int] = {}
        # Counted again now that nobody else can trim: two at once would delete more than the excess.
        dead = dict((yield Do("prune_dead_counts")))
        for queue, count in dead.items():
            if count > max_dead:
                rows = yield Do("prune_dead", (queue, min(limit, count - max_dead)))
                gone += [row[0] for row in rows]
                trimmed[queue] = len(rows)
                dead[queue] -= len(rows)
        yield Do("prune_attempts", (msgspec.json.encode(gone).decode(),))
        yield Do("prune_rates", (int(now // 60) - 2 * 24 * 60,))
        return Pruned(deleted, trimmed, dead)

    def note(self, job: JobRecord, progress: bytes | None, checkpoint: bytes | None) -> Operation[bool]:
        yield Begin()
        row = {"id": job.id, "token": job.token, "progress": progress, "checkpoint": checkpoint}
        return bool((yield DoMany("note", [row])))


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # a forked child ends without taking it from its parent
        shutil.rmtree(folder, ignore_errors=True)


def _path(url: str) -> str:
    rest = url.removeprefix("sqlite://")
    if rest in ("", "/", "/:memory:"):
        return ":memory:"
    if not rest.startswith("/"):
        raise ConfigError(
            f"{url!r} names no file: write sqlite:///{rest} for a file in the current folder, or "
            f"sqlite:////{rest} for one from the root"
        )
    return os.path.abspath(rest[1:])


def _row(job: JobRecord) -> tuple[Any, ...]:
    return (
        job.id,
        job.task,
        job.payload,
        job.queue,
        job.priority,
        str(job.state),  # for a member of an enumeration sqlite3 would look for an adapter: 0.4 µs
        job.created_at,
        job.run_at,
        job.expires_at,
        job.key,
        None if job.options is NO_OPTIONS else msgspec.json.encode(job.options),
    )


def _settlement_rows(
    settlements: Sequence[Settlement],
) -> Iterator[tuple[str, dict[int, tuple[Any, ...]], dict[str, Any]]]:
    """For each statement that settles: its name, its rows, and the parameters that they share."""
    succeeded: dict[tuple[Any, ...], dict[int, tuple[Any, ...]]] = defaultdict(dict)
    others: dict[int, tuple[Any, ...]] = {}
    for each in settlements:
        job = each.job
        if each.state is SUCCEEDED:
            result = None if each.result is None else each.result.decode()
            succeeded[job.worker, each.keep][job.locator] = (job.token, result, each.now)
        else:
            run_at = None if each.run_at == job.run_at else each.run_at
            finished_at = each.now if each.state in FINAL else None
            prune_at = None if each.keep is None else each.now + each.keep
            row = (job.token, job.worker, each.state, each.attempt, each.crashes, run_at)
            others[job.locator] = (*row, each.reason, finished_at, prune_at)
    for (worker, keep), rows in succeeded.items():
        yield "settle_succeeded", rows, {"worker": worker, "keep": keep}
    if others:
        yield "settle", others, {}


def _rates(settlements: Sequence[Settlement]) -> list[tuple[Any, ...]]:
    found: dict[tuple[Any, ...], list[Any]] = {}
    for each in settlements:
        job = each.job
        ended = (each.now // 60, job.queue, job.task, each.verb)
        totals = found.get(ended) or found.setdefault(ended, [0, 0.0])
        totals[0] += 1
        totals[1] += each.now - (job.started_at or each.now)
    return [(int(minute), *rest, *totals) for (minute, *rest), totals in found.items()]
