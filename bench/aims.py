"""What Backburner wants to reach, as ratios of figures of the same round: a noisy machine moves both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from typing import NamedTuple

from bench.catalog import BROKERS, OURS
from bench.measures import depth, drain, enqueue, idle, pickup, scale, waiting
from bench.run import Record

Goal = Callable[[Record, int], float | None]
"""What to reach in a round; None where that was not measured."""


class Figure(NamedTuple):
    """One of one system."""

    system: str
    measure: str
    figure: str

    def of(self, record: Record, turn: int) -> float | None:
        return record.values(*self).get(turn)


class Reached(NamedTuple):
    """In one round."""

    value: float
    goal: float


class Aim(NamedTuple):
    """`figure` is at least its goal (or `most`: at most)."""

    text: str
    figure: Figure
    goal: Goal
    most: bool = False
    reason: str = ""
    """What stands in the way where it is not met."""

    def reached(self, record: Record) -> list[Reached]:
        """Of each round in which both were measured."""
        values = record.values(*self.figure)
        return [
            Reached(value, goal)
            for turn, value in values.items()
            if (goal := self.goal(record, turn)) is not None
        ]

    def met(self, rounds: list[Reached]) -> bool:
        ratio = median(value / goal for value, goal in rounds)
        return ratio <= 1 if self.most else ratio >= 1


def fixed(value: float) -> Goal:
    return lambda _record, _turn: value


def share(part: float, of: Figure) -> Goal:
    def goal(record: Record, turn: int) -> float | None:
        value = of.of(record, turn)
        return None if value is None else part * value

    return goal


def peers(
    times: float,
    broker: str,
    measure: str,
    figures: tuple[str, ...],
    *,
    lossy: bool = True,
    most: bool = False,
) -> Goal:
    """So many times what the best library of others on that broker reaches in any of these figures; without
    those that lose jobs, if asked.
    """

    def goal(record: Record, turn: int) -> float | None:
        found = [
            value
            for name, about in record.systems.items()
            if name.endswith(f"@{broker}") and name.split("@")[0] not in OURS
            if lossy or about.at_least_once
            for figure in figures
            if (value := Figure(name, measure, figure).of(record, turn)) is not None
        ]
        return times * (min(found) if most else max(found)) if found else None

    return goal


def within(goal: Goal, ceiling: Figure) -> Goal:
    """`goal`, but 60% of a ceiling that is itself below it."""

    def lower(record: Record, turn: int) -> float | None:
        wanted, top = goal(record, turn), ceiling.of(record, turn)
        return SHARE * top if wanted is not None and top is not None and top < wanted else wanted

    return lower


SHARE = 0.6
"""Of the bare loop."""
COPIES = "and what both processes have written to is in memory three times (decision 52)"
SLOW = "the machine ran at half its usual pace"
REASONS = {
    (
        "sqlite",
        "drain",
    ): "the thread that talks to SQLite takes 11 of the 16 µs of a job, SQLite itself 8 of them, "
    "and shares Python's lock with the jobs",
    (
        "redis",
        "drain",
    ): "the server takes 21 to 25 µs for a job and 9 or 10 for one of the bare loop: it keeps "
    "counts, the order of arrival and what has ended, for people to look at",
    (
        "sqlite",
        "bulk",
    ): "an id, arguments, a record and a handle are made for each job, 3.5 µs of Python; the bare client "
    "writes what it has",
    (
        "redis",
        "bulk",
    ): "the server takes 13 µs for a job, with its order of arrival and its counts, and the caller "
    "5, one after the other",
    (
        "redis",
        "single",
    ): "Huey pushes one message onto a list; here a script of eight commands, 35 µs of the server, "
    "keeps what people look at; five of them are written to the log",
    (
        "rabbitmq",
        "single",
    ): "each goes to the thread that has the connection, and back: 1.7 times the processor time of pika's "
    "blocking client",
    (
        "sqlite",
        "pickup",
    ): "an enqueue and a claim are on disk before a job begins; the wake-up is a byte in a pipe",
    (
        "redis",
        "pickup",
    ): "the claim is a request and a write to disk of its own, 0.8 ms of 2.3 on a machine that "
    "slept; others take the job with the wake-up",
    (
        "postgres",
        "pickup",
    ): "an enqueue and a claim are a transaction each, 1.8 and 1.4 ms on a machine that slept",
    (
        "rabbitmq",
        "pickup",
    ): "an enqueue takes 2.0 of 2.5 ms, until a quorum queue has it on disk and delivers it",
    (
        "sqlite",
        "single",
    ): "the disk of that machine is fast: beside a transaction of 95 µs the 37 µs of Python around it count",
    (
        "rabbitmq",
        "depth",
    ): "for half a second after its start a worker has a small prefetch, with which the server reads few "
    "messages from its disk at a time; from then on it runs 55,000 to 60,000 a second",
    ("sqlite", "busy"): f"{SLOW}; 3.5 to 5.2 ms on another day",
    ("sqlite", "idle"): f"{SLOW}; 0.27% on another day",
    ("postgres", "memory"): f"psycopg takes 10 MB, {COPIES}",
    ("rabbitmq", "memory"): f"pika takes 3 MB, {COPIES}",
}
"""Why an aim is not met, where it is not."""
CROWDED = (
    "a thousand at once are 20,000 jobs a second, and each takes 34 µs of the one core that a process has: "
    "they start and end in lumps of hundreds"
)
SHARED = (
    "there are two cores, and the broker needs one of them: the bare loop gains 1.03 to 1.3 times from a "
    "second process"
)
DEEP = {"sqlite": 1_000_000, "redis": 10_000_000, "postgres": 10_000_000, "rabbitmq": 1_000_000}
"""Jobs that wait behind those that are run."""
BEST, AT_TEN = drain.BEST, "10 at once"
SINGLE = (enqueue.FIGURES["single"], enqueue.FIGURES["async"])
BULK = (enqueue.FIGURES["bulk"], enqueue.FIGURES["async-bulk"])
P99 = pickup.name(pickup.IDLE, 99)


def _aims(broker: str) -> Iterator[Aim]:
    def figure(measure: str, name: str) -> Figure:
        return Figure(f"backburner@{broker}", measure, name)

    def bare(measure: str, name: str) -> Figure:
        return Figure(f"bare@{broker}", measure, name)

    def reason(why: str) -> str:
        return REASONS.get((broker, why), "")

    for load, times in ((AT_TEN, 10), (BEST, 4)):
        ceiling = bare("drain", drain.name("coroutine", load))
        mine = figure("drain", drain.name("coroutine", load))
        theirs = tuple(drain.name(kind, load) for kind in drain.KINDS)
        others = peers(times, broker, "drain", theirs, lossy=False)
        if load == BEST:
            yield Aim(
                f"{broker}, drain at its best: 60% of the bare loop",
                mine,
                share(SHARE, ceiling),
                reason=reason("drain"),
            )
        yield Aim(
            f"{broker}, drain, {load}: {times} times the fastest other library that loses no job, or 60% of "
            "the bare loop where that is slower",
            mine,
            within(others, ceiling),
        )
    single, bulk = SINGLE[0], BULK[0]
    for title, name, ways, why in (("one by one", single, SINGLE, "single"), ("in bulk", bulk, BULK, "bulk")):
        mine = figure("enqueue", name)
        yield Aim(
            f"{broker}, enqueue {title}: faster than all others",
            mine,
            peers(1, broker, "enqueue", ways),
            reason=reason(why),
        )
        yield Aim(
            f"{broker}, enqueue {title}: 60% of the bare client",
            mine,
            share(SHARE, bare("enqueue", name)),
            reason=reason(why),
        )
    mine = figure("pickup", P99)
    yield Aim(
        f"{broker}, pick-up at idle, p99: twice the broker's own wake-up",
        mine,
        share(2, bare("pickup", P99)),
        most=True,
        reason=reason("pickup"),
    )
    yield Aim(
        f"{broker}, pick-up at idle, p99: faster than all others",
        mine,
        peers(1, broker, "pickup", (P99,), most=True),
        most=True,
        reason=reason("pickup"),
    )
    yield Aim(
        f"{broker}, pick-up at half load, p99: 10 ms",
        figure("pickup", pickup.name(pickup.BUSY, 99)),
        fixed(10),
        most=True,
        reason=reason("busy"),
    )
    yield Aim(
        f"{broker}, drain with {DEEP[broker]:,} behind: 90% of that with none",
        figure("depth", depth.behind(DEEP[broker])),
        share(0.9, figure("depth", depth.SHALLOW)),
        reason=reason("depth"),
    )
    yield Aim(
        f"{broker}, memory at idle: 45 MB",
        figure("idle", idle.PSS),
        fixed(45),
        most=True,
        reason=reason("memory"),
    )
    yield Aim(
        f"{broker}, memory after more drains: that after one, and a tenth",
        figure("idle", idle.GROWN),
        share(1.1, figure("idle", idle.DRAINED)),
        most=True,
    )
    yield Aim(
        f"{broker}, idle: 0.5% of a core",
        figure("idle", idle.CPU),
        fixed(0.5),
        most=True,
        reason=reason("idle"),
    )
    yield Aim(f"{broker}, idle: 5 commands a second", figure("idle", idle.COMMANDS), fixed(5), most=True)
    yield Aim(
        f"{broker}, jobs that wait, 1,000 at once: 95% of the ideal",
        figure("waiting", waiting.name(waiting.MOST)),
        fixed(95),
        reason=CROWDED,
    )
    yield Aim(
        f"{broker}, two processes: 1.7 times one",
        figure("scale", scale.FIGURES[2]),
        share(1.7, figure("scale", scale.FIGURES[1])),
        reason=SHARED,
    )


AIMS = tuple(aim for broker in BROKERS for aim in _aims(broker))
