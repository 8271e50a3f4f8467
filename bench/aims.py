"""What Backburner wants to reach, as ratios of figures of the same round: a noisy machine moves both."""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

from bench.catalog import BROKERS
from bench.measures import depth, drain, enqueue, idle, pickup, scale
from bench.run import Record


class Figure(NamedTuple):
    """One of one system."""

    system: str
    measure: str
    figure: str


class Aim(NamedTuple):
    """`figure`, or `figure` divided by `beside`, is at least (or `most`: at most) `limit`."""

    text: str
    figure: Figure
    limit: float
    beside: Figure | None = None
    most: bool = False

    def reached(self, record: Record) -> list[float]:
        """The value of each round in relation to the limit; empty when it was not measured."""
        values = record.values(*self.figure)
        others = record.values(*self.beside) if self.beside else dict.fromkeys(values, 1.0)
        return [values[turn] / others[turn] / self.limit for turn in values if turn in others]

    def met(self, ratios: list[float]) -> bool:
        return median(ratios) <= 1 if self.most else median(ratios) >= 1


COROUTINES = drain.name("coroutine", drain.BEST)
FUNCTIONS = drain.name("function", drain.BEST)
SQLITE, RABBITMQ = "backburner@sqlite", "backburner@rabbitmq"

AIMS = (
    *(
        Aim(
            f"{broker}, drain: at least half of the bare loop",
            Figure(f"backburner@{broker}", "drain", COROUTINES),
            0.5,
            beside=Figure(f"bare@{broker}", "drain", COROUTINES),
        )
        for broker in BROKERS
    ),
    *(
        Aim(
            f"{broker}, enqueue in bulk: at least half of the bare loop",
            Figure(f"backburner@{broker}", "enqueue", enqueue.BULK),
            0.5,
            beside=Figure(f"bare@{broker}", "enqueue", enqueue.BULK),
        )
        for broker in BROKERS[1:]
    ),
    Aim("sqlite, enqueue in bulk: at least 50,000 jobs/s", Figure(SQLITE, "enqueue", enqueue.BULK), 50_000),
    Aim(
        "sqlite, drain with many behind: at least 80% of that with none",
        Figure(SQLITE, "depth", depth.DEEP),
        0.8,
        beside=Figure(SQLITE, "depth", depth.SHALLOW),
    ),
    Aim(
        "sqlite, pick-up at idle, p99: at most 10 ms",
        Figure(SQLITE, "pickup", pickup.name(pickup.IDLE, 99)),
        10,
        most=True,
    ),
    Aim("sqlite, idle: at most 1% of a core", Figure(SQLITE, "idle", idle.CPU), 1, most=True),
    Aim("sqlite, memory, idle: at most 45 MB", Figure(SQLITE, "idle", idle.PSS), 45, most=True),
    Aim(
        "rabbitmq, drain with two processes: at least twice dramatiq at its best",
        Figure(RABBITMQ, "scale", scale.FIGURES[2]),
        2,
        beside=Figure("dramatiq@rabbitmq", "drain", FUNCTIONS),
    ),
)
