"""How many deliveries of one queue a process may have at a time (pure): its window, which is its prefetch.

1. A claim wants as much out as the worker has in hand, asks for, and will ask for at its pace.
2. To change a window takes 14 round trips, 7 ms. So it is made larger when the server holds something back
   because of it, or when the pace is high, and smaller when what lies on the shelf is more than was wanted,
   which others could run, or when nothing is out, before that happens.
"""

from __future__ import annotations

from backburner.brokers.rabbitmq.schema import SUSPECTS
from backburner.brokers.rabbitmq.shelf import Shelf

AHEAD = 0.1
"""Seconds of work that may lie on a shelf, at the pace at which it is claimed."""
BUSY = 100
"""Deliveries claimed a second from which on a window is ahead of what is felt."""
MOST = 2000
"""Deliveries that lie on a shelf ahead of their claim, at most."""
SKIPPED = 200
"""Deliveries that a claim looks past, since it may not take those tasks, at most."""


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
        self.wanted_at = 0.0
        """When somebody asked for deliveries, on `time.monotonic()`."""
        self.claimed_at = 0.0
        self.pace = 0.0
        """Deliveries claimed a second, of late."""

    @property
    def windowed(self) -> list[str]:
        """The consumers that have the window; that of the suspects has its own."""
        return [tag for tag in self.tags if not tag.startswith(SUSPECTS)]

    def wanted(self, limit: int, skipped: int) -> int:
        """How many deliveries may be out for a claim of `limit` that looks past so many."""
        ahead = max(self.settled, min(int(self.pace * AHEAD), MOST))
        return self.held + min(skipped, SKIPPED) + limit + ahead

    def fits(self, need: int) -> bool:
        """Whether the window does for a claim that wants so many out.

        What a worker with little to do wants differs from claim to claim, with its averages. When the window
        followed that, one job of a hundred waited 7 ms for a change of which nothing could be seen.
        """
        out = self.held + len(self.shelf)
        if need > self.window:
            return out + self.settled < self.window and self.pace <= BUSY
        return self.window <= 4 * need + 64 or 0 < out <= need

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
