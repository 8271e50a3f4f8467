"""What an operation of the Redis broker yields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from backburner.brokers.redis.schema import fresh_job, new_jobs
from backburner.job import JobRecord


class Do(NamedTuple):
    """Run a named script, atomically; the reply is the server's, with bytes for text."""

    name: str
    given: Any = ()
    blobs: Sequence[bytes] = ()
    """Bytes that travel as they are; `given` names them by their numbers, from 1 on."""
    again: bool = True
    """Whether it may be sent again when its answer was lost: the second one would say the same."""


class DoEnqueue(NamedTuple):
    """Store jobs of unbounded queues, in one script with those that others store just now.

    The reply is that of `enqueue.lua`; nothing if it went wrong, or is left to that one.
    """

    jobs: Sequence[JobRecord]


def together(steps: Sequence[DoEnqueue]) -> Do:
    """The one script for several; a shorter one for a single job without a key, a time and an expiry."""
    jobs = [job for step in steps for job in step.jobs]
    blobs: list[bytes] = []
    if len(jobs) == 1 and _is_fresh(job := jobs[0]):
        fresh_job(job, blobs)
        return Do("enqueue_fresh", (job.id, job.queue, job.task, job.priority), blobs)
    return Do("enqueue", (new_jobs(jobs, blobs), {}), blobs)


def _is_fresh(job: JobRecord) -> bool:
    never = job.key is None and job.expires_at is None and job.expires_in is None
    return never and not job.run_at and job.delay is None


def shares(steps: Sequence[DoEnqueue], reply: Sequence[Any] | None) -> Sequence[Any]:
    """The reply to each of several: what is kept for its own jobs, by their own numbers."""
    if len(steps) == 1 or reply is None:
        return [reply] * len(steps)
    now, found = reply
    kept, first, replies = dict(found), 1, list[Any]()
    for step in steps:
        own = range(first, first + len(step.jobs))
        replies.append([now, [[number - first + 1, kept[number]] for number in own if number in kept]])
        first = own.stop
    return replies
