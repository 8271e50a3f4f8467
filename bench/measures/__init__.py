"""What is measured: a module for each measure, with its `STEPS`."""

from __future__ import annotations

from importlib import import_module

from bench.figures import Step

TITLES = {
    "enqueue": "Enqueue",
    "drain": "Drain",
    "scale": "Processes",
    "awaited": "Results awaited",
    "retries": "Retries",
    "waiting": "Jobs that wait",
    "computing": "Jobs that compute",
    "pickup": "Pick-up time",
    "idle": "A worker with nothing to do",
    "startup": "Start",
    "depth": "Many waiting behind",
    "network": "A network",
}
"""Of each measure, in the order in which they are taken."""


def steps(measure: str) -> tuple[Step, ...]:
    found: tuple[Step, ...] = import_module(f"bench.measures.{measure}").STEPS
    return found


def explanation(measure: str) -> str:
    """How it is measured: the module's own words."""
    text = import_module(f"bench.measures.{measure}").__doc__
    assert text
    return text
