"""Ways to build Backburner wrong, each of which the simulation has to find.

Each one replaces a piece of the package while its context lasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from backburner import lifecycle, periodic, schedule
from backburner.brokers.base import Broker, Recovered
from backburner.brokers.sqlite.broker import SqliteBroker
from backburner.brokers.sqlite.database import SQL
from backburner.lifecycle import Settlement
from backburner.retry import Retry
from backburner.worker.embedded import EmbeddedWorker
from backburner.worker.loop import Worker
from backburner.worker.maintenance import Maintenance


def without(text: str, *names: str) -> Any:
    """These statements, without this condition."""
    changed = {}
    for name in names:
        assert text in SQL[name], name
        changed[name] = SQL[name].replace(text, "")
    return patch.dict(SQL, changed)


def instead(name: str, old: str, new: str) -> Any:
    assert old in SQL[name], name
    return patch.dict(SQL, {name: SQL[name].replace(old, new)})


@contextmanager
def no_fence() -> Iterator[None]:
    """What a zombie settles is written, whoever has the job by now."""
    token = " AND token = new.value ->> 0"
    others = without(token + " AND +worker = new.value ->> 1", "settle")
    with others, without(token + " AND +worker = :worker", "settle_succeeded"):
        yield


def rescue_without_lease() -> Any:
    """Jobs are rescued from workers that live."""
    return without("lease_until <= :now AND ", "orphans_expire")


def stage_that_drops() -> Any:
    """What is due goes where nobody looks for it."""
    return instead("stage", "SET state = 'queued'", "SET state = 'queued', queue = 'nowhere'")


def no_recover() -> Any:
    """After a lost answer the exchange is sent again as it was."""

    def recover(self: Broker, worker: str, settlements: Any, known: Any) -> Any:
        return Recovered([], [])
        yield

    return patch.object(Broker, "recover", recover)


def success_is_believed() -> Any:
    """A job that completes in a transaction counts as done, whether or not that was committed."""
    original = Worker._settlement

    def settlement(self: Worker, run: Any, value: Any, error: Any, verdict: Any) -> Settlement:
        if run.current.completion is not None:
            return run.current.succeeded(value)  # type: ignore[no-any-return]
        return original(self, run, value, error, verdict)

    return patch.object(Worker, "_settlement", settlement)


def follow_ups_left_out() -> Any:
    """A success is written without what was to follow it."""
    original = lifecycle.succeeded

    def succeeded(job: Any, result: Any, now: float, **given: Any) -> Settlement:
        return original(job, result, now, keep=given["keep"])

    return patch.object(lifecycle, "succeeded", succeeded)


def one_attempt_more() -> Any:
    """The retry policy counts from zero."""
    original = Retry.refusal
    return patch.object(
        Retry, "refusal", lambda self, error, attempt, age: original(self, error, attempt - 1, age)
    )


def newest_first() -> Any:
    """A line that is served from its end."""
    return instead(
        "claim_next", "ORDER BY priority DESC, run_at, seq", "ORDER BY priority DESC, run_at DESC, seq"
    )


def fire_without_its_job() -> Any:
    """A schedule moves on in one write, and its job is enqueued in another, which may not come."""
    original = SqliteBroker.advance_schedule

    def advance(self: Any, name: str, seen: float, next_at: float | None, jobs: Any) -> Any:
        return (yield from original(self, name, seen, next_at, jobs[1:]))

    return patch.object(SqliteBroker, "advance_schedule", advance)


def unguarded_completion() -> Any:
    """A completion is not refused when the lease was lost."""

    def complete(self: Broker, settlement: Settlement) -> Any:
        yield from self.exchange([settlement], None)

    return patch.object(Broker, "complete", complete)


def no_duties() -> Any:
    """Nobody looks for the jobs of the dead."""

    async def rescue(self: Maintenance) -> float:
        return 60.0

    return patch.object(Maintenance, "_rescue", rescue)


def deaf() -> Any:
    """A worker goes on under its name when others have its lease."""
    return patch.object(
        EmbeddedWorker, "_directed", lambda self, directives: self.worker.cancel(directives.cancel)
    )


@contextmanager
def pills_handed_on() -> Iterator[None]:
    """However often a job has crashed it is queued again, and started."""
    crashed, take = lifecycle.crashed, Worker._take

    def taken(self: Worker, jobs: Any) -> None:
        for job in jobs:
            job.crashes = min(job.crashes, self.app.settings.poison_after - 1)
        take(self, jobs)

    handed_on = patch.object(
        lifecycle, "crashed", lambda job, now, poison_after: crashed(job, now, poison_after=1000)
    )
    with handed_on, patch.object(Worker, "_take", taken):
        yield


def crashes_not_counted() -> Any:
    """A crash costs nothing."""
    return instead("settle", "crashes = new.value ->> 4", "crashes = 0")


def suspects_together() -> Any:
    """A job that may have killed its workers runs beside others of that kind."""
    return patch.object(Worker, "_is_suspect", lambda self, job: False)


def checkpoint_forgotten() -> Any:
    """A job that goes back begins anew."""
    return instead(
        "settle", "SET state = new.value ->> 2,", "SET checkpoint = NULL, state = new.value ->> 2,"
    )


def old_fire_after_a_change() -> Any:
    """A schedule that is changed fires once more as it was."""
    return instead("save_schedule", "ELSE excluded.next_at END", "ELSE next_at END")


def fires_skipped_by_a_start() -> Any:
    """Each worker that starts reckons the next fire from then on."""
    return instead("save_schedule", "THEN next_at ELSE", "THEN excluded.next_at ELSE")


def only_the_newest() -> Any:
    """Of the fires that were missed the newest alone is made up for, whatever the policy."""
    original = schedule._newest
    return patch.object(schedule, "_newest", lambda plan, first, now, most: original(plan, first, now, 1))


def late_or_not() -> Any:
    """A fire that was missed long ago is made up for, whatever the policy."""
    original = schedule.due
    return patch.object(
        periodic,
        "due",
        lambda plan, next_at, now, busy: original(
            msgspec.structs.replace(plan, grace=1e9), next_at, now, busy=busy
        ),
    )


def fires_over_each_other() -> Any:
    """overlap="skip" looks at nothing."""
    return patch.object(periodic, "_unfinished", _nobody)


def _nobody(broker: Broker, job_id: str | None) -> Any:
    return False
    yield


def pruned_too_early() -> Any:
    """Finished jobs are deleted before their time."""
    return instead("prune", "WHERE prune_at <= ?", "WHERE prune_at <= ? + 400")


def never_pruned() -> Any:
    """Finished jobs are kept for ever."""

    async def prune(self: Maintenance) -> float:
        return 60.0

    return patch.object(Maintenance, "_prune", prune)


MUTANTS: dict[str, tuple[Callable[[], Any], str, int]] = {
    "no fence": (no_fence, "a zombie", 38),
    "rescue without a look at the lease": (rescue_without_lease, "whose lease was live", 0),
    "staging that drops": (stage_that_drops, "which is no end", 0),
    "no recovery": (no_recover, "which is no end", 14),
    "a success that is believed": (success_is_believed, "with 0 effects", 1),
    "follow-ups left out": (follow_ups_left_out, "it is lost", 0),
    "one attempt more": (one_attempt_more, "of 4 at most", 0),
    "newest first": (newest_first, "not in order", 0),
    "a fire without its job": (fire_without_its_job, "it is lost", 0),
    "a completion without a guard": (unguarded_completion, "effects", 93),
    "nobody rescues": (no_duties, "which is no end", 0),
    "deaf to the loss of its lease": (deaf, "that nobody knows any more", 0),
    "poison pills are handed on": (pills_handed_on, "it killed", 0),
    "crashes are not counted": (crashes_not_counted, "it killed", 0),
    "suspects run side by side": (suspects_together, "under suspicion", 4),
    "checkpoints are forgotten": (checkpoint_forgotten, "was stored before it", 0),
    "a changed schedule fires as it was": (old_fire_after_a_change, "which is no time of it", 5),
    "a start skips fires": (fires_skipped_by_a_start, "is skipped", 1),
    "only the newest fire is made up for": (only_the_newest, "missed", 1),
    "what is late is made up for": (late_or_not, "fired for", 42),
    "fires overlap": (fires_over_each_other, "fired for", 2),
    "pruned too early": (pruned_too_early, "it was to be kept until", 3),
    "never pruned": (never_pruned, "outlived their retention", 3),
}
"""How it is built, words of the promise that it breaks, and a seed that shows it."""
