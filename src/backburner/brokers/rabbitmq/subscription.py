"""How many deliveries of one queue a process may have at a time (pure): its window, which is its prefetch.

1. A claim wants as much out as the worker has in hand, asks for, and will ask for at its pace.
2. To change a window takes 14 round trips, 7 ms in which no claim of the worker is answered, and what came
   with the old one stays beside what comes with the new one. So it is made larger only when the server holds
   something back because of it, or when the pace is high.
3. It is made smaller when nothing is out, or when for a second more lay on the shelf than was wanted, which
   others could run.
"""

from __future__ import annotations

from backburner.brokers.rabbitmq.schema import LANES, SUSPECTS
from backburner.brokers.rabbitmq.shelf import Shelf

AHEAD = 0.1
"""Seconds of work that may lie on a shelf, at the pace at which it is claimed."""
BUSY = 100
"""Deliveries claimed a second from which on a window is ahead of what is felt."""
MOST = 2000
"""Deliveries that lie on a shelf ahead of their claim, at most."""
SKIPPED = 200
"""Deliveries that a claim looks past, since it may not take those tasks, at most."""
LARGE = 1.0
"""Seconds for which a window may be too large. Each tenth of a second a worker that is full looks past what
it has no room for, and wants hundreds of deliveries for a moment: windows that followed were changed twenty
times a second, and each change brought as many deliveries once more.
"""


class Subscription:
    """The consumers on one queue: one for each lane."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.held = 0
        """Deliveries that were claimed and are not settled."""
        self.settled = 0
        """Since the last claim: the server may not have heard of it, and send nothing in their place yet."""
        self.window = 0
        """0: nothing is delivered."""
        self.tags: list[str] = []
        self.apt_at = 0.0
        """When the window was last not too large, on `time.monotonic()`."""
        self.wanted_at = 0.0
        """When somebody asked for deliveries, on `time.monotonic()`."""
        self.claimed_at = 0.0
        self.pace = 0.0
        """Deliveries claimed a second, of late."""

    @property
    def windowed(self) -> list[str]:
        """The consumers that have the window; that of the suspects has its own."""
        return [tag for tag in self.tags if not tag.startswith(SUSPECTS)]

    @property
    def missing(self) -> list[str]:
        """The lanes that have no consumer."""
        there = {tag.partition(".")[0] for tag in self.tags}
        return [band for band in LANES if band not in there]

    def wanted(self, limit: int, skipped: int) -> int:
        """How many deliveries may be out for a claim of `limit` that looks past so many."""
        ahead = max(self.settled, min(int(self.pace * AHEAD), MOST))
        return self.held + min(skipped, SKIPPED) + limit + ahead

    @property
    def out(self) -> int:
        """Deliveries that are here, claimed or not."""
        return self.held + len(self.shelf)

    def fits(self, need: int, now: float) -> bool:
        """Whether the window does for a claim that wants so many out.

        What a worker with little to do wants differs from claim to claim, with its averages. When the window
        followed that, one job of a hundred waited 7 ms for a change of which nothing could be seen.
        """
        if need > self.window:
            self.apt_at = now
            return self.out + self.settled < self.window and self.pace <= BUSY
        if self.window <= 4 * need + 64 or 0 < self.out <= need:
            self.apt_at = now
            return True
        return self.out > 0 and now < self.apt_at + LARGE

    def apt(self, need: int, now: float) -> int:
        """The window that it is to have for such a claim."""
        return self.window if self.fits(need, now) else self.fitting(need)

    def fitting(self, need: int) -> int:
        """A window for such claims: one that grows does so in few steps, and a large one leaves room for the
        few jobs by which what is in hand differs from claim to claim.
        """
        return need + need // 16 + need * (self.pace > BUSY)

    def claimed(self, count: int, now: float) -> None:
        """So many were claimed, now."""
        passed = max(now - self.claimed_at, 1e-3)
        weight = min(passed / AHEAD, 1.0)
        self.pace += weight * (count / passed - self.pace)
        self.held += count
        self.settled = 0
        self.claimed_at = now
