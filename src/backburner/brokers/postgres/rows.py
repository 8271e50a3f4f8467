"""Jobs and settlements as the JSON documents that the functions of the schema read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from backburner.job import NO_OPTIONS, JobRecord
from backburner.lifecycle import Attempt, Settlement, State


class New(msgspec.Struct, omit_defaults=True, gc=False):
    """One job of an enqueue, as the function `given` reads it."""

    id: str
    task: str
    payload: str
    queue: str
    priority: int
    run_at: float | None = None
    delay: float | None = None
    expires_at: float | None = None
    expires_in: float | None = None
    key: str | None = None
    options: str | None = None


class Settled(msgspec.Struct, omit_defaults=True, gc=False):
    """One settlement, as the function `settle` reads it; `n` is its place in the batch."""

    n: int
    seq: int
    token: int
    worker: str | None
    verb: str
    now: float
    keep: float | None = None
    result: str | None = None
    reason: str | None = None
    log: str | None = None
    follow: list[New] | None = None
    state: str | None = None
    attempt: int | None = None
    crashes: int | None = None
    run_at: float | None = None


def new_rows(jobs: Sequence[JobRecord]) -> list[New]:
    return [
        New(
            job.id,
            job.task,
            job.payload.decode(),
            job.queue,
            job.priority,
            job.run_at or None,
            job.delay,
            job.expires_at,
            job.expires_in,
            job.key,
            None if job.options is NO_OPTIONS else msgspec.json.encode(job.options).decode(),
        )
        for job in jobs
    ]


def fresh_rows(jobs: Sequence[JobRecord]) -> dict[str, str]:
    """The documents of the function `enqueue_fresh`."""
    lanes = Counter((job.queue, job.priority) for job in jobs if not job.delay or job.delay < 0)
    named = [{"queue": queue, "priority": priority, "count": n} for (queue, priority), n in lanes.items()]
    return {
        "jobs": msgspec.json.encode(new_rows(jobs)).decode(),
        "lanes": msgspec.json.encode(named).decode(),
    }


def adopted_row(place: int, job: JobRecord, history: Sequence[Attempt]) -> dict[str, Any]:
    """One job of another broker, as the function `adopt` reads it."""
    row = {name: getattr(job, name) for name in job.__struct_fields__}
    for name in ("payload", "progress", "checkpoint"):
        row[name] = row[name] and row[name].decode()
    row["options"] = None if job.options == NO_OPTIONS else msgspec.json.encode(job.options).decode()
    row["history"] = [msgspec.json.encode(attempt).decode() for attempt in history]
    return {**row, "place": place}


def settlement_rows(settlements: Sequence[Settlement]) -> tuple[str | None, str | None, set[int]]:
    """The documents of those that end and of those that stay, in the order of their rows: who locks many
    rows at once locks them in one order. And the places of those that settle one claim twice.
    """
    ended: list[Settled] = []
    others: list[Settled] = []
    twice: set[int] = set()
    seen: set[tuple[int, int]] = set()
    for n, each in enumerate(settlements):
        job = each.job
        claim = job.locator, job.token
        if claim in seen:
            twice.add(n)
            continue
        seen.add(claim)
        row = Settled(n, job.locator, job.token, job.worker, each.verb, each.now, each.keep)
        if each.result is not None:
            row.result = each.result.decode()
        if each.reason is not None:
            row.reason = each.reason.replace("\0", "\ufffd")  # the one character that cannot be stored
        if each.log is not None:
            row.log = msgspec.json.encode(each.log).decode()
        if each.follow_ups:
            row.follow = new_rows(each.follow_ups)
        if each.state is State.SUCCEEDED or each.state is State.CANCELLED:
            ended.append(row)
        else:
            row.state, row.attempt, row.crashes, row.run_at = (
                each.state,
                each.attempt,
                each.crashes,
                each.run_at,
            )
            others.append(row)
    return _document(ended), _document(others), twice


def _document(rows: list[Settled]) -> str | None:
    rows.sort(key=_seq)
    return msgspec.json.encode(rows).decode() if rows else None


def _seq(row: Settled) -> int:
    return row.seq
