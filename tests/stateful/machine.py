"""A Hypothesis state machine: whatever callers, workers and people do, the store is what the model says."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import structs

from backburner import lifecycle
from backburner.brokers.base import Beat, Bound, Claim, Filter
from backburner.errors import QueueFull
from backburner.job import JobRecord, new_id
from backburner.lifecycle import FINAL, ErrorInfo, Settlement, State
from backburner.retry import Retry
from backburner.testing import Clock
from tests.stateful.model import Full, Model
from tests.stores import MakeBroker

QUEUES = ("a", "b")
WORKERS = ("w1", "w2", "w3")
LEASE = 10.0
KEEP = 20.0
POISON_AFTER = 2
MAX_DEAD = 1
POLICY = Retry(max_attempts=2, first=4, jitter=0)
BOOM = ErrorInfo("builtins.OSError", "boom", None)

DUTIES = ("stage", "rescue", "prune")

queues = st.permutations(QUEUES).map(tuple) | st.sampled_from(QUEUES).map(lambda queue: (queue,))
ways = st.booleans()  # through which of the two brokers on the store
picks = st.integers(0, 3) | st.integers(0, 20)
bounds = st.none() | st.builds(
    Bound, queue=st.just("a"), max_length=st.just(2), on_full=st.sampled_from(["raise", "drop_oldest"])
)
verbs = st.sampled_from(["succeed", "fail", "snooze", "release", "cancel", "die"])


@st.composite
def new_jobs(draw: st.DrawFn) -> JobRecord:
    return JobRecord(
        id=new_id(),
        task=draw(st.sampled_from(["quick", "slow"])),
        queue=draw(st.sampled_from(QUEUES)),
        priority=draw(st.integers(-1, 1)),
        delay=draw(st.sampled_from([None, None, 3.0, 15.0])),
        expires_at=draw(st.sampled_from([None, 7.0])),
        key=draw(st.sampled_from([None, None, None, "k1", "k2"])),
    )


def plain(job: JobRecord) -> JobRecord:
    """Without what is the broker's own."""
    return structs.replace(job, locator=0, stamp=None)


class QueueMachine(RuleBasedStateMachine):
    store: ClassVar[Callable[[Path], MakeBroker]]

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock(0.0)
        make = type(self).store(Path(self.folder.name))
        self.brokers = [make(self.clock), make(self.clock)]
        self.model = Model()
        self.tokens: dict[str, int] = {}
        self.claims: list[JobRecord] = []  # every claim ever made, also those that ended long ago

    def teardown(self) -> None:
        for broker in self.brokers:
            broker.close()
        self.folder.cleanup()

    def do(self, way: bool, method: str, *arguments: Any) -> Any:
        broker = self.brokers[way]
        return broker.run(getattr(broker, method)(*arguments))

    # Few rules, so that each is tried often --------------------------------------------------------

    @initialize()
    def the_day_begins(self) -> None:
        for worker in WORKERS[:2]:
            self.start(False, worker)
        for _ in range(3):
            self.enqueue(False, [JobRecord(id=new_id(), task="quick", queue=queue) for queue in QUEUES], None)

    @rule(way=ways, jobs=st.lists(new_jobs(), min_size=1, max_size=4), again=st.booleans(), bound=bounds)
    def callers(self, way: bool, jobs: list[JobRecord], again: bool, bound: Bound | None) -> None:
        self.enqueue(way, [*jobs, *jobs[:again]], bound)

    @rule(
        way=ways,
        ended=st.lists(st.tuples(picks, verbs), max_size=3),
        follow_up=st.none() | new_jobs(),
        claim=st.builds(
            Claim,
            worker=st.sampled_from(WORKERS),
            queues=queues,
            limit=st.integers(0, 3),
            exclude=st.sampled_from([(), (), ("slow",)]),
        ),
    )
    def work(
        self, way: bool, ended: list[tuple[int, str]], follow_up: JobRecord | None, claim: Claim
    ) -> None:
        settlements = [self.settlement(self.claimed(pick), verb) for pick, verb in ended if self.claims]
        if follow_up and settlements and settlements[0].verb == "succeed":
            settlements[0].follow_ups = (follow_up,)
        self.exchange(way, settlements, claim)

    more_work = work  # it is most of what happens

    @rule(
        way=ways,
        workers=st.sets(st.sampled_from(WORKERS), min_size=1),
        sign=st.sampled_from(["beat", "end", "new"]),
    )
    def signs_of_life(self, way: bool, workers: set[str], sign: str) -> None:
        if sign == "new":
            for worker in workers:
                self.start(way, worker)
        else:
            self.heartbeat(way, workers, LEASE if sign == "beat" else 0.0)

    @rule(way=ways, seconds=st.sampled_from([1.0, 3.0, LEASE, KEEP]), duties=st.sets(st.sampled_from(DUTIES)))
    def time_passes(self, way: bool, seconds: float, duties: set[str]) -> None:
        self.clock.advance(seconds)
        self.model.now += seconds
        for duty in sorted(duties):
            getattr(self, duty)(way)

    @precondition(lambda self: self.model.jobs)
    @rule(way=ways, act=st.sampled_from(["cancel", "revive", "delete"]), picks=st.lists(picks, max_size=3))
    def people(self, way: bool, act: str, picks: list[int]) -> None:
        line = list(self.model.jobs)
        getattr(self, act)(way, [line[-1 - pick % len(line)] for pick in picks])

    # Callers -----------------------------------------------------------------------------------------

    def enqueue(self, way: bool, jobs: list[JobRecord], bound: Bound | None) -> None:
        bounds = {"a": bound} if bound else {}
        try:
            expected = self.model.enqueue(jobs, bound)
        except Full:
            with pytest.raises(QueueFull):
                self.do(way, "enqueue", copy.deepcopy(jobs), bounds)
        else:
            stored = self.do(way, "enqueue", copy.deepcopy(jobs), bounds)
            assert [job.id for job in stored] == expected

    # Workers -----------------------------------------------------------------------------------------

    def start(self, way: bool, worker: str) -> None:
        self.model.workers[worker] = self.model.now + LEASE
        self.do(way, "heartbeat", [Beat(worker=worker, lease=LEASE, new=True)])

    def heartbeat(self, way: bool, workers: set[str], lease: float) -> None:
        known = workers & self.model.workers.keys()
        self.model.workers.update(dict.fromkeys(known, self.model.now + lease))
        cancel, lost = self.do(way, "heartbeat", [Beat(worker=worker, lease=lease) for worker in workers])
        assert set(lost) == workers - known
        running = [job for job in self.model.jobs.values() if job.state is State.RUNNING]
        assert cancel.keys() == {job.id for job in running if job.cancel_requested and job.worker in workers}

    def claimed(self, pick: int) -> JobRecord:
        """A claim of the past, more often a recent one: mostly it is still live."""
        return self.claims[-1 - pick % len(self.claims)]

    def exchange(self, way: bool, settlements: Sequence[Settlement], claim: Claim) -> None:
        lost = self.model.settle(settlements)
        taken = self.model.claim(claim)
        reply = self.do(way, "exchange", copy.deepcopy(settlements), claim)
        assert reply.lost == lost
        assert [job.id for job in reply.jobs] == taken
        for job in reply.jobs:
            assert plain(job) == self.model.jobs[job.id]
            assert job.token > self.tokens.get(job.id, 0), "a token was given twice"
            self.tokens[job.id] = job.token
        self.claims += reply.jobs

    def settlement(self, job: JobRecord, verb: str) -> Settlement:  # noqa: PLR0911 - one line a verb
        now = self.model.now
        match verb:
            case "succeed":
                return lifecycle.succeeded(job, b"[1]", now, keep=KEEP)
            case "fail":
                refusal = POLICY.refusal(OSError(), job.attempt, 0)
                if refusal is None:
                    return lifecycle.retrying(job, BOOM, POLICY.delay(OSError(), job.attempt, 0), now)
                return lifecycle.dead(job, BOOM, refusal, now)
            case "die":
                return lifecycle.dead(job, BOOM, "no use", now)
            case "cancel":
                return lifecycle.cancelled(job, "enough", now, keep=KEEP)
            case "snooze":
                return lifecycle.snoozed(job, 6, now, "not yet")
            case _:
                return lifecycle.released(job, now, "interrupted")

    @precondition(lambda self: self.claims)
    @rule(way=ways, pick=picks, progress=st.none() | st.just(b"0.5"), checkpoint=st.none() | st.just(b"[7]"))
    def note(self, way: bool, pick: int, progress: bytes | None, checkpoint: bytes | None) -> None:
        job = self.claimed(pick)
        mine = self.model.jobs.get(job.id)
        owned = mine is not None and mine.state is State.RUNNING and mine.token == job.token
        if mine is not None and owned:
            mine.progress = progress or mine.progress
            mine.checkpoint = checkpoint or mine.checkpoint
        assert self.do(way, "note", job, progress, checkpoint) == owned

    # Time and the duties -----------------------------------------------------------------------------

    def stage(self, way: bool) -> None:
        assert self.do(way, "stage", 1000).count == self.model.stage()

    def rescue(self, way: bool) -> None:
        orphans = self.model.orphans()
        expected = [lifecycle.crashed(job, self.model.now, poison_after=POISON_AFTER) for job in orphans]
        self.model.settle(copy.deepcopy(expected))
        rescued = self.do(way, "rescue", 1000, POISON_AFTER)
        assert {each.job.id: each.verb for each in rescued} == {each.job.id: each.verb for each in expected}

    def prune(self, way: bool) -> None:
        self.model.remove(expected := self.model.prunable())
        excess = {queue: len(self.model.dead(queue)) - MAX_DEAD for queue in QUEUES}
        deleted, trimmed, _ = self.do(way, "prune", 1000, MAX_DEAD)
        assert deleted == len(expected)
        assert trimmed == {queue: count for queue, count in excess.items() if count > 0}
        left = self.stored()
        for queue in trimmed:
            dead = self.model.dead(queue)
            gone = [job for job in dead if job.id not in left]
            kept = [job for job in dead if job.id in left]
            assert max(job.finished_at or 0 for job in gone) <= min(job.finished_at or 0 for job in kept)
            self.model.remove([job.id for job in gone])

    # People ------------------------------------------------------------------------------------------

    def cancel(self, way: bool, ids: list[str]) -> None:
        expected = self.model.cancel(ids, "a person", KEEP)
        assert set(self.do(way, "cancel", ids, "a person", KEEP)) == set(expected)

    def revive(self, way: bool, ids: list[str]) -> None:
        ids += [job.id for queue in QUEUES for job in self.model.dead(queue)][:2]
        assert set(self.do(way, "revive", ids)) == set(self.model.revive(ids))

    def delete(self, way: bool, ids: list[str]) -> None:
        gone = [job.id for job in self.model.some(ids) if job.state is not State.RUNNING]
        self.model.remove(gone)
        assert set(self.do(way, "delete", ids)) == set(gone)

    @rule(way=ways, queue=st.sampled_from(QUEUES), paused=st.booleans())
    def pause(self, way: bool, queue: str, paused: bool) -> None:
        (self.model.paused.add if paused else self.model.paused.discard)(queue)
        broker = self.brokers[way]
        broker.run(broker.set_queue(queue, paused=paused))

    # What always holds -------------------------------------------------------------------------------

    def stored(self) -> dict[str, JobRecord]:
        return {job.id: plain(job) for job in self.do(False, "find", Filter(limit=10_000))}

    @invariant()
    def the_store_is_what_the_model_says(self) -> None:
        assert self.stored() == self.model.jobs

    @invariant()
    def every_job_is_in_one_piece(self) -> None:
        for job in self.model.jobs.values():
            assert (job.finished_at is not None) == (job.state in FINAL)
            assert 0 <= job.attempt <= POLICY.max_attempts
            assert job.crashes <= POISON_AFTER
            assert job.state is not State.RUNNING or job.token == self.tokens[job.id], "two live claims"

    @precondition(lambda self: self.model.history)
    @rule(way=ways)
    def the_history_is_complete(self, way: bool) -> None:
        for job_id, outcomes in self.model.history.items():
            assert [line.outcome for line in self.do(way, "history", job_id)] == outcomes
