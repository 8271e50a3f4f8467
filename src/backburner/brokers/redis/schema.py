"""What the Redis broker stores: the rows that scripts are given, and those that they give, as records.

The keys are described in the scripts: a job in `job.lua`, the lines of the queues in `line.lua`, and so on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from backburner.brokers import flaws
from backburner.job import NO_OPTIONS, JobRecord
from backburner.lifecycle import RUNNING, SUCCEEDED, Attempt, Settlement, State

encode = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder().encode
_head = msgspec.msgpack.Decoder(tuple[str, str, int, str | None]).decode
_loose = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_changing = msgspec.msgpack.Decoder(
    tuple[
        State,
        int,
        float,
        float,
        float | None,
        int,
        int,
        int,
        str | None,
        float | None,
        float | None,
        float | None,
        bool | None,
        str | None,
    ]
).decode


_HEAD = ("task", "queue", "priority", "key")
_CHANGING = (
    *("state", "seq", "created_at", "run_at", "expires_at", "attempt", "token", "crashes", "worker"),
    *("started_at", "finished_at", "prune_at", "cancel_requested", "reason"),
)


SHORT = 5
"""Values of a row without result, progress and checkpoint."""
UNTOUCHED = b"\xc0\xc0\xc0\xc0"
"""The end of what changes of a job that runs, and that nobody has cancelled or waits for."""


def record(row: Sequence[Any]) -> JobRecord:
    """One row of `job.lua`: head, payload, options, what changes, result, progress, checkpoint, id; of a job
    that never ran `claim.lua` leaves out what it has not.
    """
    if len(row) != SHORT:
        *first, result, progress, checkpoint, job_id = row
        row = (*first, job_id, result, progress, checkpoint)
    try:
        job = _read(*row)
    except flaws.DAMAGE:
        return _salvaged(*row)
    return job if flaws.sound(job) else _salvaged(*row)


def _salvaged(
    head: bytes | None,
    payload: bytes | None,
    options: bytes | None,
    changing: bytes | None,
    job_id: bytes,
    result: bytes | None = None,
    progress: bytes | None = None,
    checkpoint: bytes | None = None,
) -> JobRecord:
    fields = {
        **_each(head, _HEAD),
        **_each(changing, _CHANGING),
        "id": job_id.decode(errors="replace"),
        "payload": payload,
        "options": options,
        "result": result,
        "progress": progress,
        "checkpoint": checkpoint,
    }
    seq = fields["seq"]
    return flaws.salvaged(fields, seq if isinstance(seq, int) else 0)


def _each(packed: bytes | None, names: Sequence[str]) -> dict[str, Any]:
    """The values of an array by name, each with the error that it raised, if it did."""
    found: dict[str, Any] = dict.fromkeys(names, ValueError("it is missing"))
    try:
        values = _loose(packed or b"")
    except flaws.DAMAGE as error:
        return dict.fromkeys(names, error)
    for name, value in zip(names, values, strict=False):
        try:
            found[name] = msgspec.msgpack.decode(value)
        except flaws.DAMAGE as error:
            found[name] = error
    return found


def _read(
    head: bytes,
    payload: bytes,
    options: bytes | None,
    changing: bytes,
    job_id: bytes,
    result: bytes | None = None,
    progress: bytes | None = None,
    checkpoint: bytes | None = None,
) -> JobRecord:
    task, queue, priority, key = _head(head)
    (
        state,
        seq,
        created_at,
        run_at,
        expires_at,
        attempt,
        token,
        crashes,
        worker,
        started_at,
        finished_at,
        _,
        cancel_requested,
        reason,
    ) = _changing(changing)
    return JobRecord(  # by position: by name it would take ten times as long, a microsecond a job
        job_id.decode(),
        task,
        payload,
        queue,
        priority,
        state,
        created_at,
        run_at,
        expires_at,
        attempt,
        token,
        crashes,
        worker,
        started_at,
        finished_at,
        result,
        reason,
        key,
        cancel_requested or False,
        progress,
        checkpoint,
        flaws.options(options),
        seq,
        None,
        None,
        changing if state is RUNNING else None,
    )


def new_jobs(jobs: Sequence[JobRecord], blobs: list[bytes]) -> tuple[list[Any], list[Any]]:
    """The heads and the rows of `store.lua`; their payloads and options go to `blobs`."""
    heads: dict[tuple[Any, ...], int] = {}
    rows: list[tuple[Any, ...]] = []
    for job in jobs:
        head = heads.setdefault((job.task, job.queue, job.priority, job.key), len(heads) + 1)
        blobs.append(job.payload)
        payload, options = len(blobs), None
        if job.options is not NO_OPTIONS:
            blobs.append(_json(job.options))
            options = len(blobs)
        rows.append((job.id, head, payload, options, job.run_at, job.delay, job.expires_at, job.expires_in))
    return [*heads], rows


def fresh_job(job: JobRecord, blobs: list[bytes]) -> None:
    """What of a job `enqueue_fresh.lua` is given as blobs."""
    blobs += (encode((job.task, job.queue, job.priority, job.key)), job.payload)
    if job.options is not NO_OPTIONS:
        blobs.append(_json(job.options))


class Settled(NamedTuple):
    """What `settle.lua` is given; results, stamps and lines of history go to the blobs."""

    groups: list[Any]
    quick: list[Any]
    rows: list[Any]
    order: list[int]
    """Places of the settlements as they are counted there: the quick ones first."""


def settled(settlements: Sequence[Settlement], blobs: list[bytes]) -> Settled:
    groups: dict[tuple[Any, ...], int] = {}
    quick: list[Any] = []
    rows: list[tuple[Any, ...]] = []
    order: list[int] = []
    others: list[int] = []
    behind: set[str] = set()
    for place, each in enumerate(settlements):
        job, result, now = each.job, 0, each.now
        if each.result is not None:
            blobs.append(each.result)
            result = len(blobs)
        key = (job.worker, job.queue, job.task, job.priority, each.verb, each.state, each.keep, now // 60)
        group = groups.get(key) or groups.setdefault(key, len(groups) + 1)
        success = each.state is SUCCEEDED and not each.follow_ups
        # Of two settlements of one claim the first holds.
        if success and job.stamp and job.stamp.endswith(UNTOUCHED) and job.id not in behind:
            blobs.append(job.stamp)
            seconds = now - (job.started_at or now)
            quick += (group, job.id, job.locator, job.token, now, seconds, result, len(blobs))
            order.append(place)
            continue
        row: tuple[Any, ...] = (group, job.id, job.token, now, result or None)
        if not success:
            log = None
            if each.log is not None:
                blobs.append(_json(each.log))
                log = len(blobs)
            new = new_jobs(each.follow_ups, blobs) if each.follow_ups else None
            row += (each.attempt, each.crashes, each.run_at, each.reason, log, new)
        rows.append(row)
        others.append(place)
        behind.add(job.id)
    return Settled([*groups], quick, rows, order + others)


def lives(
    jobs: Sequence[JobRecord], histories: Mapping[str, Sequence[Attempt]], blobs: list[bytes]
) -> list[Any]:
    """What `adopt.lua` is given of the lives of these jobs elsewhere."""

    def number(blob: bytes | None) -> int | None:
        if blob is None:
            return None
        blobs.append(blob)
        return len(blobs)

    return [
        (
            (
                *(
                    job.state,
                    0,
                    job.created_at,
                    job.run_at,
                    job.expires_at,
                    job.attempt,
                    job.token,
                    job.crashes,
                ),
                *(job.worker, job.started_at, job.finished_at, None, job.cancel_requested, job.reason),
            ),
            number(job.progress),
            number(job.checkpoint),
            [number(_json(each)) for each in histories.get(job.id, ())],
        )
        for job in jobs
    ]


def pairs(flat: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    """What a script lists as key, value, key, value."""
    return zip(flat[::2], flat[1::2], strict=True)
