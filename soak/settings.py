"""What a run is told, and tells the processes that it starts, through their environment."""

from __future__ import annotations

import os

import msgspec

VARIABLE = "SOAK_SETTINGS"
PRUNING = 30.0
"""Seconds between two times that a worker prunes, at most (`worker/maintenance.py`)."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One run on one broker. Times in seconds."""

    seconds: float
    warm_up: float
    interval: float
    """Between two samples."""
    rate: float
    """Jobs a second that are enqueued."""
    retention: float
    """How long finished jobs are kept."""
    leak: tuple[str, ...] = ()
    """What the tasks leak on purpose."""
    url: str = ""
    results: str | None = None
    folder: str = ""

    @property
    def stored_warm_up(self) -> float:
        """Until as many jobs are pruned as come in, and half of a period more."""
        return max(self.warm_up, self.retention + 1.5 * PRUNING)

    def environment(self) -> dict[str, str]:
        return {VARIABLE: msgspec.json.encode(self).decode()}


def given() -> Settings:
    """Those that this process was started with."""
    return msgspec.json.decode(os.environ[VARIABLE], type=Settings)
