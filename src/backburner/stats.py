"""The figures of a broker, by queue and by task. Pure.

1. What waits, runs and is dead is counted from the stored jobs. The latency is how long the oldest queued job
   has waited.
2. What was done is counted by the minute. The window begins with one: it is a little longer than asked for.
3. Attempts that succeeded are `finished`; those that raised, timed out or lost their worker are `failed`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from backburner.brokers.base import QueueInfo, Rate, TaskInfo, WorkerInfo

FAILURES = frozenset({"retry", "die", "crash", "poison"})


class Figures(msgspec.Struct, kw_only=True):
    """The jobs of one queue or of one task, or all of them."""

    queued: int
    latency: float | None
    """Seconds since the oldest queued job became due; null when none is queued."""
    running: int
    later: int
    """Scheduled, retrying or blocked."""
    dead: int
    finished: int
    """Jobs that succeeded in the window."""
    failed: int
    """Attempts that failed in the window."""
    throughput: float
    """Jobs a second that succeeded in the window."""
    failure_rate: float | None
    """Failed attempts among those that ended in the window, from 0 to 1; null when none ended."""
    seconds: float | None
    """Mean length of the attempts that ended in the window; null when none ended."""


class QueueFigures(Figures, kw_only=True):
    """Of one queue."""

    queue: str
    paused: bool


class TaskFigures(Figures, kw_only=True):
    """Of one task."""

    task: str


class Workers(msgspec.Struct, kw_only=True):
    """The live workers together."""

    alive: int
    running: int
    slots: int


class Stats(msgspec.Struct, kw_only=True):
    """Figures at the time `at`; `window` is in seconds."""

    at: float
    window: float
    workers: Workers
    total: Figures
    queues: list[QueueFigures]
    tasks: list[TaskFigures]


def stats(
    queues: Sequence[QueueInfo],
    tasks: Sequence[TaskInfo],
    workers: Sequence[WorkerInfo],
    rates: Sequence[Rate],
    minutes: float,
    now: float,
) -> Stats:
    """All figures at `now`; `rates` are those of the last `minutes`."""
    window = now - (now - minutes * 60) // 60 * 60
    live = [each.beat for each in workers if each.lease_until > now]

    def of_queue(info: QueueInfo) -> QueueFigures:
        figures = _figures([info], [rate for rate in rates if rate.queue == info.name], window, now)
        return QueueFigures(queue=info.name, paused=info.paused, **msgspec.structs.asdict(figures))

    def of_task(name: str, infos: Sequence[TaskInfo]) -> TaskFigures:
        figures = _figures(infos, [rate for rate in rates if rate.task == name], window, now)
        return TaskFigures(task=name, **msgspec.structs.asdict(figures))

    return Stats(
        at=now,
        window=window,
        workers=Workers(
            alive=len(live),
            running=sum(beat.running for beat in live),
            slots=sum(beat.concurrency for beat in live),
        ),
        total=_figures(queues, rates, window, now),
        queues=[of_queue(info) for info in queues],
        tasks=[of_task(name, infos) for name, infos in _by_task(tasks, rates).items()],
    )


def _by_task(tasks: Sequence[TaskInfo], rates: Sequence[Rate]) -> dict[str, list[TaskInfo]]:
    """Tasks with stored jobs, and those whose jobs are gone already but ended within the window."""
    found = {info.name: [info] for info in tasks}
    names = sorted({*found, *(rate.task for rate in rates)})
    return {name: found.get(name, []) for name in names}


def _figures(
    infos: Sequence[QueueInfo | TaskInfo], rates: Sequence[Rate], window: float, now: float
) -> Figures:
    def count(*states: str) -> int:
        return sum(info.counts.get(state, 0) for info in infos for state in states)

    oldest = min((info.oldest for info in infos if info.oldest is not None), default=None)
    finished = sum(rate.count for rate in rates if rate.outcome == "succeed")
    failed = sum(rate.count for rate in rates if rate.outcome in FAILURES)
    ended = finished + failed
    seconds = sum(rate.seconds for rate in rates if rate.outcome == "succeed" or rate.outcome in FAILURES)
    return Figures(
        queued=count("queued"),
        latency=None if oldest is None else max(0.0, now - oldest),
        running=count("running"),
        later=count("scheduled", "retrying", "blocked"),
        dead=count("dead"),
        finished=finished,
        failed=failed,
        throughput=finished / window,
        failure_rate=failed / ended if ended else None,
        seconds=seconds / ended if ended else None,
    )
