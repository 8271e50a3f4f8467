"""The one judge of whether Backburner kept its promises, for the simulation and for real faults.

1. Whoever takes part writes down what it saw, as observations: who enqueued that a job was accepted, a task
   that it began, a worker what the broker took. Each process may write its own file of lines (`encode`).
2. Observations are compared as sets: no order across processes is known, and a process may die before it
   writes one. So nothing is concluded from an observation that is missing, but from what was promised and
   from what is stored.
3. At rest (the faults are over, the queues are empty) `Oracle.verdict` says which promises were broken, each
   with the observations of that job. An empty list: all were kept.
4. `Ordered` is the stricter form for who sees everything in its true order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from backburner.job import JobRecord
from backburner.lifecycle import FINAL, State


class Seen(msgspec.Struct, frozen=True, tag=True):
    """An observation about one job."""

    job: str


class Accepted(Seen, frozen=True):
    """An enqueue returned. `effect`: the task completes in a transaction with one effect."""

    effect: bool = False


class Doubtful(Seen, frozen=True):
    """An enqueue raised, and may have been done all the same."""

    effect: bool = False


class RolledBack(Seen, frozen=True):
    """An enqueue in a transaction that was rolled back, or one that was refused."""


class Began(Seen, frozen=True):
    """An attempt began; written by the task itself, as its first act."""

    worker: str
    token: int
    attempt: int


class Returned(Seen, frozen=True):
    """An attempt returned; written by the task itself, as its last act."""

    token: int


class Settled(Seen, frozen=True):
    """The broker took a settlement: an event of the worker, or of whoever rescued the job."""

    worker: str
    token: int
    state: State


class Effect(Seen, frozen=True):
    """A committed effect of a task that completes in a transaction: a row of the user's own table."""

    token: int


class Followed(Seen, frozen=True):
    """An attempt asked for this job to be enqueued with its own success (`then`)."""

    parent: str
    token: int


class Fired(Seen, frozen=True):
    """A periodic task was enqueued for one moment."""

    schedule: str
    due: float


class Killed(Seen, frozen=True):
    """This attempt ended its worker process; written as its last act."""

    token: int


class Struck(Seen, frozen=True):
    """This attempt had started in a process that another job killed."""

    token: int
    by: str
    suspects: bool = False
    """Both had crashed so often that the next crash was to be their last."""


class Saving(Seen, frozen=True):
    """An attempt is about to store this checkpoint; those of a job count up."""

    token: int
    value: int


class Saved(Seen, frozen=True):
    """Its store has answered."""

    token: int
    value: int


class Resumed(Seen, frozen=True):
    """The checkpoint with which an attempt began."""

    token: int
    value: int


class Deleted(Seen, frozen=True):
    """A person asked to delete it, or its retention may have passed."""


class Revived(Seen, frozen=True):
    """A person queued it again: dead and cancelled are not its end."""


Observation = (
    Accepted
    | Doubtful
    | RolledBack
    | Began
    | Returned
    | Settled
    | Effect
    | Followed
    | Fired
    | Killed
    | Struck
    | Saving
    | Saved
    | Resumed
    | Deleted
    | Revived
)
S = TypeVar("S", bound=Seen)


def encode(observation: Observation) -> bytes:
    """One line of a file, with its end."""
    return msgspec.json.encode(observation) + b"\n"


def decode(lines: bytes) -> list[Observation]:
    """The observations of a file. A last line that is cut off (its process was killed) is left out."""
    whole = lines[: lines.rfind(b"\n") + 1]
    return msgspec.json.Decoder(Observation).decode_lines(whole)


class Oracle:
    """Gathers observations. `max_attempts` and `poison_after` are the largest that any job had.

    `copies`: a broker alone that may hold a job twice, as RabbitMQ does after a confirm was lost. Each copy
    counts tokens of its own, so they do not tell who owned the job.
    """

    def __init__(self, *, max_attempts: int, poison_after: int, copies: bool = False) -> None:
        self.max_attempts = max_attempts
        self.poison_after = poison_after
        self.copies = copies
        self.seen: dict[str, list[Observation]] = defaultdict(list)
        self._broken: list[str] = []
        self._returns = False

    def see(self, observation: Observation) -> None:
        self.seen[observation.job].append(observation)
        self._returns = self._returns or isinstance(observation, Returned)

    def broke(self, job: str, promise: str) -> None:
        """Somebody saw a promise broken at once."""
        self._broken.append(self._told(job, promise))

    def verdict(
        self,
        stored: Mapping[str, JobRecord] | None,
        rest: Mapping[str, int],
        *,
        dead: Collection[str] = (),
        fires: Mapping[str, Collection[float]] | None = None,
    ) -> list[str]:
        """The promises that were broken.

        `stored` are all jobs as they are stored, None where the broker cannot look them up; then `dead` are
        the ids of the dead letters. `rest` counts what has to be gone at rest: what runs, waits, is held or
        is left over, by name. `fires` says when each schedule had to fire by its policy.
        """
        broken = [f"at rest: {count} {name}" for name, count in rest.items() if count]
        for job, seen in self.seen.items():
            found = [*self._limits(seen), *([] if self.copies else self._tokens(seen)), *_resumed(seen)]
            if stored is None:
                found += self._ended_somehow(seen, dead=job in dead)
            else:
                found += self._stored(seen, stored.get(job), stored)
            broken += [self._told(job, promise) for promise in found]
        for job, record in (stored or {}).items():
            if job not in self.seen:
                broken.append(f"job {job} is {record.state}, and nobody enqueued it")
        return [*self._broken, *broken, *self._fires(fires)]

    def _limits(self, seen: list[Observation]) -> Iterator[str]:
        for began in _only(Began, seen):
            if began.attempt > self.max_attempts:
                yield f"attempt {began.attempt} began, of {self.max_attempts} at most"
            if _any(RolledBack, seen):
                yield "it was rolled back, and ran"

    def _tokens(self, seen: list[Observation]) -> Iterator[str]:
        owners: dict[int, set[str]] = defaultdict(set)
        for each in seen:
            if isinstance(each, Began | Settled):
                owners[each.token].add(each.worker)
        for token, workers in owners.items():
            if len(workers) > 1:
                yield f"token {token} belongs to several workers: {', '.join(sorted(workers))}"
        for token, count in Counter(each.token for each in _only(Settled, seen)).items():
            if count > 1:
                yield f"token {token} was settled {count} times"
        ends = [each.token for each in _only(Settled, seen) if each.state in FINAL]
        if ends and not _any(Revived, seen):
            yield from self._after_its_end(ends, seen)

    def _after_its_end(self, ends: list[int], seen: list[Observation]) -> Iterator[str]:
        if len(ends) > 1:
            yield f"it ended {len(ends)} times"
        for began in _only(Began, seen):
            if began.token > min(ends):
                yield f"token {began.token} began after token {min(ends)} had ended it"

    def _ended_somehow(self, seen: list[Observation], *, dead: bool) -> Iterator[str]:
        final = any(each.state in FINAL for each in _only(Settled, seen))
        ended = dead or final or _any(Returned, seen)
        if _any(Accepted | Fired, seen) and not ended and not _any(Deleted, seen):
            yield "it was accepted, and neither ran to an end nor is a dead letter: it is lost"
        if _any(RolledBack, seen) and dead:
            yield "it was rolled back, and is a dead letter"

    def _stored(
        self, seen: list[Observation], record: JobRecord | None, stored: Mapping[str, JobRecord]
    ) -> Iterator[str]:
        promised = _any(Accepted | Fired, seen)
        for each in _only(Followed, seen):
            parent = stored.get(each.parent)
            if parent is not None and parent.state is State.SUCCEEDED and parent.token == each.token:
                promised = True
        if record is None:
            if promised and not _any(Deleted, seen):
                yield "it was accepted, and is not stored: it is lost"
            if _any(Effect, seen) and not _any(Deleted, seen):
                yield "it has had an effect, and is not stored"
            return
        if _any(RolledBack, seen):
            yield f"it was rolled back, and is {record.state}"
        unsure = any(each.parent not in stored for each in _only(Followed, seen))  # its parent was deleted
        if not (promised or unsure or _any(Doubtful, seen)):
            yield f"it is {record.state}, and nobody enqueued it"
        yield from self._end(seen, record)

    def _end(self, seen: list[Observation], record: JobRecord) -> Iterator[str]:
        if record.state not in FINAL:
            yield f"it is {record.state} at rest, which is no end"
        if record.attempt > self.max_attempts:
            yield f"attempt {record.attempt} is stored, of {self.max_attempts} at most"
        if record.crashes > self.poison_after:
            yield f"it crashed {record.crashes} times, of {self.poison_after} at most"
        yield from self._poison(seen, record)
        for each in seen:
            if isinstance(each, Began | Settled | Returned) and each.token > record.token:
                yield f"token {each.token} was given, and token {record.token} is stored"
        for settled in _only(Settled, seen):
            other = settled.state in FINAL and settled.state is not record.state
            if settled.token == record.token and other and not _any(Revived, seen):
                yield f"it ended as {settled.state}, and {record.state} is stored"
        yield from self._effects(seen, record)

    def _poison(self, seen: list[Observation], record: JobRecord) -> Iterator[str]:
        kills = len({each.token for each in _only(Killed, seen)})
        lives = 1 + len(_only(Revived, seen))
        pill = record.state is State.DEAD and (record.reason or "").startswith("poison pill")
        if kills > self.poison_after * lives:
            yield f"it killed {kills} workers in {lives} lives, of {self.poison_after} a life at most"
        if lives == 1 and kills >= self.poison_after and not pill:
            yield f"it killed {kills} workers and is {record.state} ({record.reason}), no poison pill"
        struck = _only(Struck, seen)
        for each in struck:
            if each.suspects:
                yield f"it ran beside {each.by}, both under suspicion, and died with it"
        # One that was revived starts anew: this one, which was not, may be under suspicion all alone.
        killers = Counter(each.by for each in struck if not _any(Revived, self.seen.get(each.by, [])))
        if pill and lives == 1 and not kills and max(killers.values(), default=0) >= record.crashes:
            yield f"it ended as a poison pill, and {killers.most_common(1)[0][0]} alone was guilty"

    def _effects(self, seen: list[Observation], record: JobRecord) -> Iterator[str]:
        succeeded, effects = record.state is State.SUCCEEDED, _only(Effect, seen)
        transactional = any(isinstance(each, Accepted | Doubtful) and each.effect for each in seen)
        tokens = [each.token for each in effects]
        if succeeded and transactional and len(effects) != 1:
            yield f"it succeeded in a transaction, with {len(effects)} effects"
        elif effects and (not succeeded or tokens != [record.token]):
            told = ", ".join(map(str, tokens))
            yield f"it is {record.state} with token {record.token}, with effects of {told}"
        returned = {*tokens, *(each.token for each in _only(Returned, seen))}
        if succeeded and self._returns and record.token not in returned:
            yield f"it succeeded with token {record.token}, and that attempt did not return"

    def _fires(self, expected: Mapping[str, Collection[float]] | None) -> Iterator[str]:
        jobs: dict[tuple[str, float], set[str]] = defaultdict(set)
        for seen in self.seen.values():
            for fired in _only(Fired, seen):
                jobs[fired.schedule, fired.due].add(fired.job)
        for (schedule, due), ids in jobs.items():
            if len(ids) > 1:
                yield f"schedule {schedule} fired {len(ids)} times for {due:g}: {', '.join(sorted(ids))}"
        for schedule, dues in (expected or {}).items():
            fired_at = {due for name, due in jobs if name == schedule}
            for due in sorted(fired_at.symmetric_difference(dues)):
                how = "fired for" if due in fired_at else "missed"
                yield f"schedule {schedule} {how} {due:g}, against its policy"

    def _told(self, job: str, promise: str) -> str:
        lines = (f"    {each}" for each in self.seen.get(job, []))
        return "\n".join([f"job {job}: {promise}", *lines])


class Ordered(Oracle):
    """For who sees the claims and settlements of the store itself, one after the other."""

    def __init__(self, *, max_attempts: int, poison_after: int) -> None:
        super().__init__(max_attempts=max_attempts, poison_after=poison_after)
        self.live: dict[str, tuple[str, int]] = {}
        """The worker and the token of each job that is claimed now."""
        self._last: dict[str, int] = {}

    def claimed(self, job: str, worker: str, token: int) -> None:
        """The store has given a job away."""
        if job in self.live:
            self.broke(job, f"claimed by {worker} (token {token}) while {self.live[job]} had it: two owners")
        if token <= self._last.get(job, 0):
            self.broke(job, f"token {token} after {self._last[job]}: it went back")
        self.live[job], self._last[job] = (worker, token), token

    def settled(self, job: str, worker: str, token: int) -> None:
        """The store has ended a claim."""
        if self.live.get(job) != (worker, token):
            self.broke(job, f"{worker} ended token {token} while {self.live.get(job)} had it: a zombie")
        else:
            del self.live[job]


def _resumed(seen: list[Observation]) -> Iterator[str]:
    for began in _only(Resumed, seen):
        saved = max((each.value for each in _only(Saved, seen) if each.token < began.token), default=0)
        tried = max((each.value for each in _only(Saving, seen) if each.token < began.token), default=0)
        if began.value < saved:
            yield f"token {began.token} began with checkpoint {began.value}, and {saved} was stored before it"
        if began.value > tried:
            yield f"token {began.token} began with checkpoint {began.value}, which nobody had stored"


def _only(kind: type[S], seen: Iterable[Observation]) -> list[S]:
    return [each for each in seen if isinstance(each, kind)]


def _any(kind: Any, seen: Iterable[Observation]) -> bool:
    return any(isinstance(each, kind) for each in seen)
