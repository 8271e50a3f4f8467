"""What a broker must do, in plain dictionaries. Records are those of the package; nothing else is shared."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from backburner.brokers.base import Bound, Claim
from backburner.job import JobRecord
from backburner.lifecycle import FINAL, WAITING, Settlement, State


class Full(Exception):
    """The model's QueueFull."""


class Model:
    def __init__(self) -> None:
        self.now = 0.0
        self.jobs: dict[str, JobRecord] = {}  # in the order of arrival
        self.prune_at: dict[str, float] = {}
        self.history: dict[str, list[str]] = {}
        self.workers: dict[str, float] = {}  # until when each lease lasts
        self.paused: set[str] = set()

    def queued(self, queue: str) -> list[JobRecord]:
        return [job for job in self.jobs.values() if job.state is State.QUEUED and job.queue == queue]

    def enqueue(self, jobs: Sequence[JobRecord], bound: Bound | None = None) -> list[str]:
        before = copy.deepcopy(self.jobs)
        kept, new = [], 0
        for job in jobs:
            same = [old for old in self.jobs.values() if old.id == job.id or (job.key and old.key == job.key)]
            if not same:
                self.jobs[job.id] = self.entered(job)
                new += bound is not None and job.queue == bound.queue and not job.delay
            kept.append(same[0].id if same else job.id)
        if bound and new and (excess := min(len(self.queued(bound.queue)) - bound.max_length, new)) > 0:
            if bound.on_full == "raise" or new > bound.max_length:
                self.jobs = before
                raise Full
            line = list(self.jobs)
            oldest = sorted(self.queued(bound.queue), key=lambda job: (job.run_at, line.index(job.id)))
            for job in oldest[:excess]:
                self.finish(job, State.CANCELLED, "dropped: its queue was full", 86400)
        return kept

    def entered(self, job: JobRecord) -> JobRecord:
        job = copy.copy(job)
        job.created_at = self.now
        job.run_at = self.now + (job.delay or 0)
        job.state = State.SCHEDULED if job.delay else State.QUEUED
        job.delay = None
        return job

    def finish(self, job: JobRecord, state: State, reason: str, keep: float) -> None:
        job.state, job.reason, job.finished_at = state, reason, self.now
        self.prune_at[job.id] = self.now + keep

    def claim(self, claim: Claim) -> list[str]:
        taken: list[JobRecord] = []
        if claim.worker not in self.workers:
            return []
        line = list(self.jobs)
        for queue in claim.queues:
            waiting = [] if queue in self.paused else self.queued(queue)
            waiting.sort(key=lambda job: (-job.priority, job.run_at, line.index(job.id)))
            taken += [job for job in waiting if job.task not in claim.exclude][: claim.limit - len(taken)]
        for job in taken:
            job.state, job.worker, job.started_at, job.progress = State.RUNNING, claim.worker, self.now, None
            job.attempt += 1
            job.token += 1
        return [job.id for job in taken]

    def settle(self, settlements: Sequence[Settlement]) -> list[str]:
        lost = []
        for each in settlements:
            job = self.jobs.get(each.job.id)
            if job is None or job.state is not State.RUNNING or job.token != each.job.token:
                lost.append(each.job.id)
                continue
            goes_on = each.state not in FINAL
            asked = job.reason if job.cancel_requested and goes_on else None
            job.state, job.attempt, job.crashes, job.run_at = (
                each.state,
                each.attempt,
                each.crashes,
                each.run_at,
            )
            job.result, job.reason = each.result, asked or each.reason
            job.finished_at = None if goes_on else each.now
            if each.keep is not None:
                self.prune_at[job.id] = each.now + each.keep
            if each.log:
                self.history.setdefault(job.id, []).append(each.verb)
            self.enqueue(each.follow_ups)
        return lost

    def stage(self) -> int:
        due = [job for job in self.jobs.values() if job.run_at <= self.now]
        due = [job for job in due if job.state in {State.SCHEDULED, State.RETRYING}]
        for job in due:
            job.state = State.QUEUED
        return len(due)

    def orphans(self) -> list[JobRecord]:
        self.workers = {worker: until for worker, until in self.workers.items() if until > self.now}
        running = [job for job in self.jobs.values() if job.state is State.RUNNING]
        return [job for job in running if job.worker not in self.workers]

    def prunable(self) -> list[str]:
        return [job_id for job_id, at in self.prune_at.items() if at <= self.now]

    def dead(self, queue: str) -> list[JobRecord]:
        return [job for job in self.jobs.values() if job.state is State.DEAD and job.queue == queue]

    def remove(self, ids: Sequence[str]) -> None:
        for job_id in ids:
            del self.jobs[job_id]
            self.prune_at.pop(job_id, None)
            self.history.pop(job_id, None)

    def cancel(self, ids: Sequence[str], reason: str, keep: float) -> list[str]:
        touched = [job for job in self.some(ids) if job.state not in FINAL]
        for job in touched:
            if job.state in WAITING:
                self.finish(job, State.CANCELLED, reason, keep)
            else:
                job.cancel_requested, job.reason = True, reason
        return [job.id for job in touched]

    def revive(self, ids: Sequence[str]) -> list[str]:
        touched = [job for job in self.some(ids) if job.state in {State.DEAD, State.CANCELLED}]
        for job in touched:
            job.state, job.run_at, job.attempt, job.crashes = State.QUEUED, self.now, 0, 0
            job.reason = job.finished_at = job.expires_at = None
            job.cancel_requested = False
            self.prune_at.pop(job.id, None)
        return [job.id for job in touched]

    def some(self, ids: Sequence[str]) -> list[JobRecord]:
        return [self.jobs[job_id] for job_id in dict.fromkeys(ids) if job_id in self.jobs]
