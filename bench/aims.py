"""What Backburner wants to reach, as ratios of figures of the same round: a noisy machine moves both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from bench import deep, drain, enqueue, idle, pickup, rabbitmq

DRAIN = drain.name("coroutine", 100)


class Aim(NamedTuple):
    """`figure`, or `figure` divided by `beside`, is at least (or `most`: at most) `limit`."""

    text: str
    figure: str
    limit: float
    beside: str | None = None
    most: bool = False

    def reached(self, samples: Mapping[str, Sequence[float]]) -> list[float]:
        """The value of each round in relation to the limit; empty when it was not measured."""
        values = samples.get(self.figure, ())
        others = samples.get(self.beside, ()) if self.beside else [1.0] * len(values)
        return [value / other / self.limit for value, other in zip(values, others, strict=False)]

    def met(self, ratios: Sequence[float]) -> bool:
        return median(ratios) <= 1 if self.most else median(ratios) >= 1


AIMS = (
    Aim("bulk enqueue: at least 50,000 jobs/s", enqueue.BULK, 50_000),
    Aim("drain: at least half of the bare loop at batch 100", DRAIN, 0.5, beside=drain.bare_name(100)),
    Aim(
        "drain with a long queue: at least 80% of that with a short one", deep.DEEP, 0.8, beside=deep.SHALLOW
    ),
    Aim("pick-up at idle, p99: at most 10 ms", pickup.P99, 10, most=True),
    Aim("idle: at most 1% of a core", idle.CPU, 1, most=True),
    Aim("memory, idle: at most 45 MB", idle.PSS, 45, most=True),
    Aim(
        "RabbitMQ, in and out: at least half of the bare loop",
        rabbitmq.CYCLE,
        0.5,
        beside=rabbitmq.BARE_CYCLE,
    ),
    Aim(
        "RabbitMQ, drain: at least twice dramatiq at its defaults",
        rabbitmq.DRAIN,
        2,
        beside=rabbitmq.PEER_DRAIN,
    ),
    Aim(
        "RabbitMQ, drain with two processes: at least twice dramatiq, tuned",
        rabbitmq.DRAIN_TWO,
        2,
        beside=rabbitmq.PEER_TUNED,
    ),
)
