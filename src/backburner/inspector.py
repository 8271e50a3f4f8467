"""Reads and operator actions: the one way in for the command line, the dashboard and programs.

1. Reads give what is stored; what to say about it is decided by pure code: `explain`, `stats`, `doctor`.
2. Whoever acts on many jobs first takes down the ids that match now (`ids`), then acts on them in batches.
   Jobs that match only later, such as a retried one that has died again, are left alone, so that it ends.

Plain functions that block; from a coroutine, call them through `asyncio.to_thread`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice

import msgspec

from backburner import doctor
from backburner.brokers.base import (
    Broker,
    Capability,
    Filter,
    Operation,
    QueueInfo,
    StoredSchedule,
    TaskInfo,
    WorkerInfo,
)
from backburner.doctor import Check, Level
from backburner.errors import BrokerError, JobNotFound
from backburner.explain import Explanation, Facts, reasons
from backburner.job import JobRecord
from backburner.lifecycle import FINAL, Attempt, State
from backburner.schedule import next_fire
from backburner.settings import Settings
from backburner.stats import Stats, stats
from backburner.views import job_view

BATCH = 500
AHEAD_LIMIT = 10_000
Progress = Callable[[int, int], object]
"""Told after each batch: jobs done, jobs in all."""
EVERYTHING = Filter()


class Inspector:
    """What is in one broker, and what an operator may do to it."""

    def __init__(self, broker: Broker, settings: Settings, queues: Collection[str] = ("default",)) -> None:
        self.broker = broker
        self.settings = settings
        self.known_queues = tuple(queues)
        """Those of the app, for a broker that cannot list its own."""

    # Jobs --------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> JobRecord:
        """Raises `JobNotFound`."""
        return self.broker.run(self._job(job_id))

    def jobs(self, which: Filter = EVERYTHING) -> list[JobRecord]:
        """A page of the jobs that match, newest first. Its last id is the next page's `before`.

        Raises `JobNotFound` when the job of `before` is gone.
        """
        return self.broker.run(self._page(which))

    def ids(self, which: Filter) -> list[str]:
        """The ids of all jobs that match, newest first; `limit` and `before` do not count."""
        while True:
            try:
                return self.broker.run(self._ids(which))
            except JobNotFound:
                continue  # the last job of a page was deleted before the next one was read

    def history(self, job_id: str) -> list[Attempt]:
        """Every attempt that failed, was interrupted or crashed, oldest first."""
        return self.broker.run(self.broker.history(job_id))

    def errors(self, ids: Collection[str]) -> dict[str, Attempt]:
        """The last failed attempt of each job that has one."""
        return self.broker.run(self._errors(ids))

    def explain(self, job_id: str) -> Explanation:
        """Why the job does not run, or ended as it did. Raises `JobNotFound`."""
        return self.broker.run(self._explain(job_id))

    def export(self, ids: Sequence[str]) -> Iterator[bytes]:
        """A line of JSON for each job, with its history; see `views.JobView`."""
        for batch in _batches(ids):
            for job in self.broker.run(self.broker.get(batch)):
                yield msgspec.json.encode(job_view(job, self.history(job.id))) + b"\n"

    def cancel(self, ids: Sequence[str], reason: str = "cancelled by an operator") -> list[str]:
        """Cancel what waits, ask the workers of what runs to stop it; the ids of jobs that were not final."""
        return self.broker.run(self.broker.cancel(ids, reason, self.settings.keep_finished))

    def retry(self, ids: Sequence[str], progress: Progress | None = None) -> list[str]:
        """Queue dead and cancelled jobs again, with all their attempts; the ids of those that were."""
        return self._in_batches(self.broker.revive, ids, progress)

    def delete(self, ids: Sequence[str], progress: Progress | None = None) -> list[str]:
        """Delete final jobs for good; the ids of those that were."""
        return self._in_batches(self._delete, ids, progress)

    # Queues, tasks, workers --------------------------------------------------------------------------

    def queues(self) -> list[QueueInfo]:
        return self.broker.run(self.broker.queues())

    def tasks(self) -> list[TaskInfo]:
        return self.broker.run(self.broker.tasks())

    def counts(self) -> dict[str, int]:
        """Jobs by state, of all queues."""
        total: Counter[str] = Counter()
        for info in self.queues():
            total.update(info.counts)
        return dict(total)

    def pause_queue(self, name: str) -> None:
        """Let no worker claim from a queue; what runs goes on, and jobs can still be enqueued."""
        self.broker.run(self.broker.set_queue(name, paused=True))

    def resume_queue(self, name: str) -> None:
        self.broker.run(self.broker.set_queue(name, paused=False))

    def workers(self) -> list[WorkerInfo]:
        return self.broker.run(self.broker.workers())

    def stats(self, minutes: float = 5) -> Stats:
        """Depth, latency, throughput and failures by queue and by task, over the last minutes."""
        return self.broker.run(self._stats(minutes))

    def checkup(self, queues: Collection[str] = ()) -> list[Check]:
        """Whether all is well with the broker, the workers, the queues and the schedules.

        `queues` matters for a broker that cannot list its own; by default those of the app.
        """
        checks = self.broker.checkup(queues or self.known_queues)
        if Capability.LOOKUP not in self.broker.capabilities or not self.broker.exists():
            return checks  # there is nothing to count
        try:
            return checks + self.broker.run(self._checkup())
        except BrokerError as error:
            told = any(check.level is Level.FAIL for check in checks)
            return checks if told else [*checks, Check(Level.FAIL, str(error))]

    # Periodic tasks ----------------------------------------------------------------------------------

    def schedules(self) -> list[StoredSchedule]:
        return self.broker.run(self.broker.schedules())

    def pause_schedule(self, name: str) -> bool:
        """False when there is none of that name."""
        return self.broker.run(self.broker.pause_schedule(name, True))

    def resume_schedule(self, name: str) -> bool:
        return self.broker.run(self.broker.pause_schedule(name, False))

    def delete_schedule(self, name: str) -> bool:
        """One that is declared in code comes back when a worker starts: take the declaration away, too."""
        return self.broker.run(self.broker.delete_schedule(name))

    def next_fires(self, stored: StoredSchedule, count: int) -> list[float]:
        """The next times at which it fires. Raises `ConfigError` where this machine cannot read it."""
        return [*islice(_fires(stored), count)]

    # Operations --------------------------------------------------------------------------------------

    def _job(self, job_id: str) -> Operation[JobRecord]:
        found = yield from self.broker.get([job_id])
        if not found:
            raise JobNotFound(
                f"no job {job_id}: the id is wrong, it belongs to another broker, "
                "or it finished and its retention has passed",
                job_id=job_id,
            )
        return found[0]

    def _page(self, which: Filter) -> Operation[list[JobRecord]]:
        page = yield from self.broker.find(which)
        if not page and which.before is not None:
            yield from self._job(which.before)
        return page

    def _ids(self, which: Filter) -> Operation[list[str]]:
        found: list[str] = []
        while True:
            before = found[-1] if found else None
            page = yield from self._page(msgspec.structs.replace(which, limit=BATCH, before=before))
            found += [job.id for job in page]
            if len(page) < BATCH:
                return found

    def _errors(self, ids: Collection[str]) -> Operation[dict[str, Attempt]]:
        found: dict[str, Attempt] = {}
        for job_id in ids:
            for attempt in (yield from self.broker.history(job_id)):
                if attempt.error:
                    found[job_id] = attempt
        return found

    def _explain(self, job_id: str) -> Operation[Explanation]:
        job = yield from self._job(job_id)
        queues = yield from self.broker.queues()
        facts = Facts(
            now=self.broker.now(),
            queue=next((info for info in queues if info.name == job.queue), None),
            workers=(yield from self.broker.workers()),
            ahead=(yield from self.broker.ahead(job, AHEAD_LIMIT)) if job.state is State.QUEUED else 0,
            ahead_limit=AHEAD_LIMIT,
            history=(yield from self.broker.history(job_id)),
            schedule=next((s for s in (yield from self.broker.schedules()) if s.last_job == job_id), None),
        )
        return Explanation(job=job, reasons=reasons(job, facts))

    def _stats(self, minutes: float) -> Operation[Stats]:
        queues = yield from self.broker.queues()
        tasks = yield from self.broker.tasks()
        workers = yield from self.broker.workers()
        rates = yield from self.broker.rates(minutes * 60)
        return stats(queues, tasks, workers, rates, minutes, self.broker.now())

    def _checkup(self) -> Operation[list[Check]]:
        facts = doctor.Facts(
            now=self.broker.now(),
            here=time.time(),
            queues=(yield from self.broker.queues()),
            workers=(yield from self.broker.workers()),
            schedules=(yield from self.broker.schedules()),
            settings=self.settings,
        )
        return doctor.diagnose(facts)

    def _delete(self, ids: Sequence[str]) -> Operation[list[str]]:
        # The broker deletes whatever does not run; an accepted job is not to be lost by a slip.
        final = [job.id for job in (yield from self.broker.get(ids)) if job.state in FINAL or job.flaw]
        return (yield from self.broker.delete(final))

    def _in_batches(
        self,
        act: Callable[[Sequence[str]], Operation[list[str]]],
        ids: Sequence[str],
        progress: Progress | None,
    ) -> list[str]:
        changed: list[str] = []
        for number, batch in enumerate(_batches(ids)):
            changed += self.broker.run(act(batch))
            if progress is not None:
                progress(number * BATCH + len(batch), len(ids))
        return changed


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), BATCH):
        yield ids[start : start + BATCH]


def _fires(stored: StoredSchedule) -> Iterator[float]:
    at = stored.next_at
    while at is not None:
        yield at
        at = next_fire(stored.schedule, at)
