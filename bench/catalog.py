"""The systems that are measured, and how `--peers` and `--brokers` choose among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from peers.environments import is_ready

BROKERS = ("sqlite", "redis", "postgres", "rabbitmq")
OURS = ("backburner", "bare")
"""What runs in our own environment."""


class System(NamedTuple):
    """A library on a broker; its adapter is `bench/systems/LIBRARY.py`."""

    library: str
    broker: str

    @property
    def name(self) -> str:
        return f"{self.library}@{self.broker}"


SYSTEMS = (
    *(System(library, broker) for broker in BROKERS for library in OURS),
    System("celery", "redis"),
    System("celery", "rabbitmq"),
    System("dramatiq", "redis"),
    System("dramatiq", "rabbitmq"),
    System("rq", "redis"),
    System("huey", "redis"),
    System("arq", "redis"),
    System("taskiq", "redis"),
    System("taskiq", "rabbitmq"),
    System("saq", "redis"),
    System("saq", "postgres"),
    System("streaq", "redis"),
    System("procrastinate", "postgres"),
    System("pgqueuer", "postgres"),
)


def chosen(peers: str, brokers: str) -> Iterator[System]:
    """Ours and those `peers`: all, none, those whose environment is there (`ready`), or LIBRARY[@BROKER],….

    Raises `ValueError` for a name that is none.
    """
    names = {name.strip() for name in peers.split(",")}
    known = {"all", "none", "ready", *(each.library for each in SYSTEMS), *(each.name for each in SYSTEMS)}
    _check(names, known)
    places = {name.strip() for name in brokers.split(",")}
    _check(places, {*BROKERS})
    for system in SYSTEMS:
        ready = "ready" in names and is_ready(system.library)
        wanted = {"all", system.library, system.name} & names or ready or system.library in OURS
        if system.broker in places and wanted:
            yield system


def _check(names: set[str], known: set[str]) -> None:
    for name in sorted(names - known):
        raise ValueError(f"{name!r} is none of {', '.join(sorted(known))}")
