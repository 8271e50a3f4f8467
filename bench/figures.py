"""What a measure gives, and how much of it to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple


class Sample(NamedTuple):
    """One figure of one round."""

    figure: str
    value: float
    unit: str


class Sizes(NamedTuple):
    """How much of everything a round does."""

    drain: int = 100_000
    enqueue: int = 2_000
    bulk: int = 20_000
    shallow: int = 1_000
    deep: int = 1_000_000
    pickups: int = 200
    idle: float = 15.0
    """Seconds."""


SHORT = Sizes(drain=200, enqueue=20, bulk=200, shallow=100, deep=1_000, pickups=5, idle=0.5)

Measure = Callable[[Sizes, Path], Iterator[Sample]]
"""Measures one round in a folder that lasts for the whole run. It alternates what is compared."""
