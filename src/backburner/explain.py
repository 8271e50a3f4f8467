"""Why a job does not run, or why it ended as it did. Pure.

1. The inspector looks up the facts: the queue, the place in line, the workers, the history, the schedule.
2. The state of the job says which sentences apply, the most telling first. What holds a waiting job up is
   looked for from its queue outward: paused; no worker alive; none that serves the queue; none that has the
   code; none that takes more work; none with a free slot for it; other jobs ahead.
3. A sentence carries the next step, where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from backburner.brokers.base import QueueInfo, StoredSchedule, WorkerInfo
from backburner.job import JobRecord, when
from backburner.lifecycle import Attempt, State
from backburner.words import plural, span

NAMES = 5
"""Names that a sentence lists at most."""
LENGTH = 200
"""Characters of an error's message, or of a report of progress, in a sentence."""


class Reason(msgspec.Struct, frozen=True):
    """One sentence about a job, and what to do about it."""

    text: str
    next_step: str | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known around a job. `now` is the broker's clock."""

    now: float
    queue: QueueInfo | None = None
    workers: Sequence[WorkerInfo] = ()
    """All that are registered; those whose lease has run out count as silent."""
    ahead: int = 0
    ahead_limit: int = 10_000
    """Where counting the jobs ahead stopped."""
    history: Sequence[Attempt] = ()
    schedule: StoredSchedule | None = None
    """The periodic task whose last fire this job is."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A job, and the reasons for the state it is in."""

    job: JobRecord
    reasons: list[Reason]


def reasons(job: JobRecord, facts: Facts) -> list[Reason]:
    """The reasons for the state of `job`; there is at least one for every state."""
    flawed = job.flaw is not None and job.state is not State.DEAD
    found = [*(_flawed if flawed else _BY_STATE[job.state])(job, facts)]
    if facts.schedule is not None:
        name, skips = facts.schedule.schedule.name, facts.schedule.schedule.overlap == "skip"
        waits = skips and job.state in _WAITS
        found.append(
            Reason(
                f"it is the last fire of schedule {name!r}"
                + (", which does not fire again before this job is final" if waits else "")
            )
        )
    return found


# By state -----------------------------------------------------------------------------------------


def _flawed(job: JobRecord, _facts: Facts) -> Iterator[Reason]:
    yield Reason(
        f"a worker that claims it will not run it, but put it among the dead: {job.flaw}",
        f"drop it with `backburner dead delete {job.id}`",
    )


def _blocked(job: JobRecord, facts: Facts) -> Iterator[Reason]:
    yield Reason(
        "it waits for other jobs to finish",
        f"explain the jobs that it depends on, or give it up with `backburner jobs cancel {job.id}`",
    )
    yield from _expiry(job, facts)


def _scheduled(job: JobRecord, facts: Facts) -> Iterator[Reason]:
    yield _due("", job, facts)
    if job.reason:
        yield Reason(f"it was put off: {job.reason}")
    elif job.token == 0:
        yield Reason("it was enqueued for later")
    yield from _later(job, facts)


def _retrying(job: JobRecord, facts: Facts) -> Iterator[Reason]:
    failure = _failure(job, facts.history)
    yield _due(f" ({failure})" if failure else "", job, facts)
    yield from _later(job, facts)


def _queued(job: JobRecord, facts: Facts) -> Iterator[Reason]:
    held = [*_held_up(job, facts)]
    yield from held or [_free(facts)]
    if facts.ahead:
        least = "at least " if facts.ahead >= facts.ahead_limit else ""
        yield Reason(f"{least}{plural(facts.ahead, 'job is', 'jobs are')} ahead of it")
    yield from _past(job, facts)
    yield from _expiry(job, facts)


def _running(job: JobRecord, facts: Facts) -> Iterator[Reason]:
    worker = next((each for each in facts.workers if each.id == job.worker), None)
    where = _place(worker) if worker else f"worker {job.worker}"
    lasts = span(facts.now - (job.started_at or facts.now))
    running = f"running on {where} since {lasts}, attempt {_attempt(job, job.attempt)}"
    if worker is None or worker.lease_until <= facts.now:
        silent = f"silent for {span(facts.now - worker.seen_at)}" if worker else "gone"
        yield Reason(f"{running}; but that worker is {silent}, so the job goes back to its queue")
        if not _live(facts):
            yield Reason("no other worker is alive to see to that", _start(job))
    elif job.cancel_requested:
        yield Reason(
            f"{running}; was asked to stop",
            "wait for it: a coroutine stops at its next await, a function at its next line of Python",
        )
    else:
        yield Reason(running, f"stop it with `backburner jobs cancel {job.id}`")
    if job.options.timeout is not None and job.started_at is not None:
        left = job.started_at + job.options.timeout - facts.now
        over = f"{span(left)} left" if left > 0 else f"passed {span(left)} ago"
        yield Reason(f"its time limit is {span(job.options.timeout)}: {over}")
    if job.progress is not None:
        yield Reason(f"it last reported {_short(job.progress.decode(errors='replace'))}")
    yield from _past(job, facts)


def _succeeded(job: JobRecord, _facts: Facts) -> Iterator[Reason]:
    took = ""
    if job.started_at is not None and job.finished_at is not None:
        took = f" after {span(job.finished_at - job.started_at)}"
    yield Reason(
        f"attempt {_attempt(job, job.attempt)} succeeded{took}, at {when(job.finished_at)}",
        f"see its result with `backburner jobs show {job.id}`" if job.result else None,
    )


def _dead(job: JobRecord, facts: Facts) -> Iterator[Reason]:
    poison = any(each.outcome == "poison" for each in facts.history[-1:])
    cure = "look for what kills it (memory, a crash in C code)" if poison else "mend the cause"
    yield Reason(
        f"dead since {when(job.finished_at)}: {job.reason or 'no reason is stored'}",
        f"{cure}, then `backburner dead retry {job.id}`; or drop it with `backburner dead delete {job.id}`",
    )
    failure = _failure(job, facts.history)
    if failure:
        yield Reason(f"at last, {failure}", f"see the traceback with `backburner dead show {job.id}`")


def _cancelled(job: JobRecord, _facts: Facts) -> Iterator[Reason]:
    yield Reason(
        f"cancelled at {when(job.finished_at)}: {job.reason or 'no reason is stored'}",
        f"run it all the same with `backburner dead retry {job.id}`",
    )
    if job.started_at is None:
        yield Reason("it had never started")


_BY_STATE: Mapping[State, Callable[[JobRecord, Facts], Iterable[Reason]]] = {
    State.BLOCKED: _blocked,
    State.SCHEDULED: _scheduled,
    State.RETRYING: _retrying,
    State.QUEUED: _queued,
    State.RUNNING: _running,
    State.SUCCEEDED: _succeeded,
    State.DEAD: _dead,
    State.CANCELLED: _cancelled,
}
_WAITS = frozenset({State.BLOCKED, State.SCHEDULED, State.RETRYING, State.QUEUED, State.RUNNING})


# What holds it up ---------------------------------------------------------------------------------


def _held_up(job: JobRecord, facts: Facts) -> Iterator[Reason]:
    if facts.queue is not None and facts.queue.paused:
        yield Reason(f"queue {job.queue!r} is paused", f"backburner queues resume {job.queue}")
    live = _live(facts)
    serving = [each for each in live if job.queue in each.beat.queues]
    able = [each for each in serving if job.task in each.beat.tasks]
    taking = [each for each in able if not each.beat.quiet]
    if not live:
        yield Reason(f"no worker is alive{_last_seen(facts)}", _start(job))
    elif not serving:
        queues = _listed(live, "serve", (name for each in live for name in each.beat.queues))
        yield Reason(f"no live worker serves queue {job.queue!r} ({queues})", _start(job))
    elif not able:
        tasks = _listed(serving, "know", (name for each in serving for name in each.beat.tasks))
        yield Reason(
            f"no live worker of queue {job.queue!r} has the task {job.task} ({tasks})",
            "deploy the code that declares it, and see that the app's module imports it",
        )
    elif not taking:
        yield Reason("every worker that could take it takes no more jobs: they are stopping", _start(job))
    elif all(job.task in each.beat.full for each in taking):
        free = sum(each.beat.concurrency - each.beat.running for each in taking)
        others = f"; {plural(free, 'slot', 'slots')} for other kinds of tasks are free" if free > 0 else ""
        yield Reason(
            f"workers are there, but none has a free slot for it{others}",
            "wait, start more workers, or give them more slots (--concurrency, --threads, --cpu-processes)",
        )


def _free(facts: Facts) -> Reason:
    if facts.ahead:
        return Reason("workers take jobs from this queue; it waits for its turn")
    return Reason(
        "it is the first in line and a worker has room: it is about to start",
        "if it still says so in a few seconds, look at the machine with `backburner doctor`",
    )


def _later(job: JobRecord, facts: Facts) -> Iterator[Reason]:
    """What a job that is not due yet will meet when it is."""
    for each in _held_up(job, facts):
        yield Reason(f"as things are, it will not start then: {each.text}", each.next_step)
    yield from _past(job, facts)
    yield from _expiry(job, facts)


def _due(why: str, job: JobRecord, facts: Facts) -> Reason:
    left = job.run_at - facts.now
    attempt = f"attempt {_attempt(job, job.attempt + 1)} is " if job.attempt else ""
    if left > 0:
        return Reason(f"{attempt}due in {span(left)}, at {when(job.run_at)}{why}")
    return Reason(f"{attempt}due since {span(left)}; the next worker that looks will queue it{why}")


def _expiry(job: JobRecord, facts: Facts) -> Iterator[Reason]:
    if job.expires_at is None:
        return
    left = job.expires_at - facts.now
    if left <= 0:
        yield Reason(f"it expired {span(left)} ago: a worker will cancel it instead of running it")
    elif job.run_at > job.expires_at:
        yield Reason(f"it expires in {span(left)}, which is before it is due: it will be cancelled")
    else:
        yield Reason(f"it expires in {span(left)}: not started by then, it will be cancelled")


def _past(job: JobRecord, facts: Facts) -> Iterator[Reason]:
    """What happened to it before; the failure itself is told elsewhere for a job that waits for its retry."""
    if job.crashes:
        times = plural(job.crashes, "time", "times")
        yield Reason(f"its worker died {times} while it ran, which does not count as an attempt")
    failure = _failure(job, facts.history)
    if failure and job.state is not State.RETRYING:
        yield Reason(f"before, {failure}")


# Words --------------------------------------------------------------------------------------------


def _failure(job: JobRecord, history: Sequence[Attempt]) -> str | None:
    """The last failure of the task itself; a crash of its worker has no error."""
    for each in reversed(history):
        if each.error:
            said = f": {_short(each.message)}" if each.message else ""
            return f"attempt {_attempt(job, each.attempt)} failed with {each.error}{said}"
    return None


def _attempt(job: JobRecord, number: int) -> str:
    """Of how many is known only where the job has a retry policy of its own; a task's is in its code."""
    return f"{number} of {job.options.retry.max_attempts}" if job.options.retry else str(number)


def _live(facts: Facts) -> list[WorkerInfo]:
    return [each for each in facts.workers if each.lease_until > facts.now]


def _last_seen(facts: Facts) -> str:
    last = max(facts.workers, key=lambda each: each.seen_at, default=None)
    return f"; the last one, {_place(last)}, was seen {span(facts.now - last.seen_at)} ago" if last else ""


def _place(worker: WorkerInfo) -> str:
    return f"{worker.beat.host}:{worker.beat.pid}" if worker.beat.host else f"worker {worker.id}"


def _start(job: JobRecord) -> str:
    return f"start one: backburner worker MODULE:APP --queues {job.queue}"


def _listed(workers: Sequence[WorkerInfo], verb: str, found: Iterable[str]) -> str:
    names = sorted(set(found))
    more = f", and {len(names) - NAMES} more" if len(names) > NAMES else ""
    who = plural(len(workers), f"worker {verb}s", f"workers {verb}")
    return f"{who}: {', '.join(names[:NAMES]) or 'none'}{more}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LENGTH else f"{line[: LENGTH - 1]}…"
