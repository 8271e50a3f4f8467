"""The clock of a server, as a process elsewhere knows it."""

from __future__ import annotations

import time
from collections.abc import Callable


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
        """The server has just said this. It was on its way for a moment, so we are a little behind."""
        self._offset = now - time.monotonic()

    def passed(self, moment: float) -> None:
        """The server has used this time: ours is not before it, or a job would end before it began."""
        if self() < moment:
            self.saw(moment)
