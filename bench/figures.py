"""What a measure gives, and how much of it to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from bench.subject import Subject


class Sample(NamedTuple):
    """One figure of one system in one round."""

    figure: str
    value: float
    unit: str


class Sizes(NamedTuple):
    """How much of everything a round does."""

    enqueue: int = 2_000
    bulk: int = 20_000
    drain: int = 100_000
    awaited: int = 5_000
    retried: int = 5_000
    moments: int = 100
    """How many jobs that wait come one after the other."""
    computes: int = 500
    """Jobs that compute."""
    pickups: int = 200
    idle: float = 15.0
    """Seconds."""
    deep: int = 1_000_000
    """Jobs that wait while others are run."""
    grow: int = 100_000
    """Jobs of the further drains after which memory is looked at again."""


SHORT = Sizes(
    enqueue=50,
    bulk=500,
    drain=500,
    awaited=50,
    retried=500,
    moments=3,
    computes=20,
    pickups=10,
    idle=0.5,
    deep=2_000,
    grow=500,
)
"""Shows that all works, and measures nothing."""


class Description(msgspec.Struct, frozen=True):
    """What an adapter says of itself."""

    kinds: tuple[str, ...]
    ways: tuple[str, ...]
    guarantee: str
    settings: str
    versions: dict[str, str]
    at_least_once: bool = True
    without: tuple[str, ...] = ()
    """Measures that would say nothing of it."""

    def first(self, *ways: str) -> str | None:
        """The first of these ways to enqueue that there is."""
        return next((way for way in ways if way in self.ways), None)


class Step(NamedTuple):
    """A part of a measure, at which the systems take turns; each measure is a module with its `STEPS`."""

    take: Callable[[Subject, Sizes], Iterator[Sample]]
    """Measures one system on a fresh broker, once."""
    offered: Callable[[Description], bool] = lambda _: True
    """Whether a system has what is measured."""
