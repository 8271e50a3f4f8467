"""What a task may raise to say how its attempt ends. `Retry.after` is in `retry.py`."""

from __future__ import annotations

import math


class Snooze(Exception):
    """Run me again in `seconds`; this attempt does not count."""

    def __init__(self, seconds: float, reason: str | None = None) -> None:
        if not math.isfinite(seconds):
            raise ValueError(f"Snooze(…) takes a number of seconds, not {seconds!r}")
        super().__init__(reason or f"snoozed for {seconds:g} s")
        self.seconds = seconds
        self.reason = reason


class Cancel(Exception):
    """Stop here for good; the job is `cancelled` with this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Dead(Exception):
    """No retry can help; the job goes to the dead letters with this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Stop(BaseException):
    """Raised inside a running function when its attempt has to end: cancelled, late, or the worker stops.

    Not an `Exception`, so that a task's own `except Exception` does not swallow it.
    """
