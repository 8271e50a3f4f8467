"""The clock of a server, as a process elsewhere knows it."""

from __future__ import annotations

import time
from collections.abc import Callable

LATENCY = 0.1
"""Seconds by which an answer may seem late before the server's clock is taken to have changed."""


class ServerClock:
    """Calling it gives the server's time: as it was last seen, and what has passed since.

    So a local clock that is set changes nothing. An `injected` clock takes its place.
    """

    def __init__(self, injected: Callable[[], float] | None) -> None:
        self.injected = injected
        self._offset: float | None = None

    def __call__(self) -> float:
        if self.injected is not None:
            return self.injected()
        return time.time() if self._offset is None else time.monotonic() + self._offset

    @property
    def moment(self) -> float | None:
        """What a statement is told: the injected time, or nothing where the server's own counts."""
        return None if self.injected is None else self.injected()

    def saw(self, now: float) -> None:
        """The server's clock said this, a moment ago.

        So what it says now is later, and of several answers the quickest is the truest: an attempt would seem
        to end before it began if a slow one counted. A clock that was set back is believed all the same.
        """
        offset = now - time.monotonic()
        if self._offset is None or offset > self._offset or offset < self._offset - LATENCY:
            self._offset = offset
