"""How a worker runs: one frozen, validated object."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import msgspec

from backburner.errors import ConfigError

THREADS_AHEAD = 200
"""Quick functions that wait in the pool for a thread at most: so that it goes from one to the next by itself.
While each was brought by the event loop, most of a function's time went into waking each other.
"""


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds, memory in megabytes."""

    queues: dict[str, int] = {}
    """Queues in order, with their weights; all weights 0 (the default): strictly in that order. Without
    any: every queue that the app's tasks name."""
    processes: int = 1
    concurrency: int = 100
    """Coroutines that run at once in a process."""
    threads: int = 8
    """Plain functions that run at once in a process."""
    cpu_processes: int = os.cpu_count() or 1
    """`cpu=True` functions that run at once, each in a process of its own."""
    grace: float = 25.0
    """What running jobs have to end when the worker stops. In its last 2 s (or the last fifth) what runs
    is interrupted, and released.
    """
    drain: bool = False
    """End when nothing is left to run: no queued, scheduled, retrying or running job in these queues.

    Where the broker cannot count them (it lacks `Capability.LOOKUP`): when nothing runs in these processes,
    and each has looked twice and been given nothing. What is due later stays, and what others run may come
    back.
    """
    max_jobs: int | None = None
    """Replace a worker process after so many jobs."""
    max_memory: float | None = None
    """Replace a worker process that holds more megabytes."""
    unresponsive: float = 120.0
    """Replace a worker process whose loop has not answered for so long; its stacks are printed first."""
    health: str | None = None
    """`host:port` to serve /live, /ready and /status on."""
    reload: bool = False
    """Restart the worker processes when a Python file changes; for development."""

    def __post_init__(self) -> None:
        for name in ("processes", "concurrency", "threads", "cpu_processes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} takes a whole number from 1 up, not {getattr(self, name)}")
        if not 0 <= self.grace < math.inf:
            raise ConfigError(f"grace is a number of seconds from 0 up, not {self.grace:g}")

    @property
    def slots(self) -> int:
        """Attempts that a process has begun or handed to its threads, at most."""
        return self.concurrency + self.threads + THREADS_AHEAD + self.cpu_processes

    @classmethod
    def build(cls, given: dict[str, Any]) -> WorkerOptions:
        """Options from keyword arguments; `queues` may be text, names, or names with weights."""
        for name in given:
            if name not in cls.__struct_fields__:
                raise ConfigError.unknown("worker option", name, cls.__struct_fields__)
        try:
            return msgspec.convert({**given, "queues": parse_queues(given.get("queues", {}))}, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"a worker option has the wrong type: {error}") from None


def parse_queues(given: str | Sequence[str] | dict[str, int]) -> dict[str, int]:
    """`"critical,default"` (strict order) or `"critical=3,default=1"` (weights) as names with weights."""
    if isinstance(given, dict):
        return given
    parts = given.split(",") if isinstance(given, str) else given
    found: dict[str, int] = {}
    for part in parts:
        name, equals, weight = part.strip().partition("=")
        if not name or (equals and not weight.isdigit()):
            raise ConfigError(f"queues are written as a,b or, with weights, as a=3,b=1; not {part!r}")
        found[name] = int(weight) if equals else 0
    if len({weight == 0 for weight in found.values()}) > 1:
        raise ConfigError("give every queue a weight, as in a=3,b=1, or none of them")
    return found
