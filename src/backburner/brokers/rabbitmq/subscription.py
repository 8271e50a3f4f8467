"""How many deliveries of one queue a process may have at a time (pure): its window, which is its prefetch.

1. A claim wants as much out as the worker has in hand, asks for, and will ask for at its pace.
2. To change a window is to replace consumers, three round trips each, in which no claim of the worker is
   answered; and what came with the old one stays beside what comes with the new one. So it is made larger
   only when the server holds something back because of it, or when the pace is high.
3. It is made smaller when for a second more was out than was wanted, which others could run, or nothing.
4. Each lane has a consumer, and most lanes nothing to deliver. Only those that have delivered something are
   given a larger window: ten changes at the start of a worker took 0.33 s with all of them, and take 0.1.
"""

from __future__ import annotations

import math
from typing import NamedTuple

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
times a second, and each change brought as many deliveries once more. A server that has much to write sends
nothing for a moment; windows that followed were changed four times in the second after that.
"""


class Lane(NamedTuple):
    """The consumer of one."""

    tag: str
    window: int
    """That of the suspects always has one delivery, whatever this says."""


class Subscription:
    """The consumers on one queue: one for each lane."""

    def __init__(self) -> None:
        self.shelf = Shelf()
        self.held = 0
        """Deliveries that were claimed and are not settled."""
        self.settled = 0
        """Since the last claim: the server may not have heard of it, and send nothing in their place yet."""
        self.window = 0
        """Of the lanes that are in use; 0: nothing is delivered."""
        self.lanes: dict[str, Lane] = {}
        """By band."""
        self.used: set[str] = set()
        """Bands from which something was delivered."""
        self.apt_at = -math.inf
        """When the window was last not too large, on `time.monotonic()`."""
        self.wanted_at = 0.0
        """When somebody asked for deliveries, on `time.monotonic()`."""
        self.asked = 1
        """What the last claim asked for."""
        self.claimed_at = 0.0
        self.pace = 0.0
        """Deliveries claimed a second, of late."""

    def unfit(self, window: int) -> list[str]:
        """The bands that need another consumer, if that is to be the window."""
        return [band for band in LANES if not self._is_fit(band, window)]

    def _is_fit(self, band: str, window: int) -> bool:
        lane = self.lanes.get(band)
        if lane is None:
            return False
        if band == SUSPECTS:
            return True  # another one would be given another job
        return lane.window == window if band in self.used else lane.window <= window

    def renew(self) -> None:
        """Have all consumers replaced with the next claim."""
        self.window = 0
        self.used.update(self.lanes)
        self.lanes = {band: lane._replace(window=0) for band, lane in self.lanes.items()}

    def end(self) -> list[Lane]:
        """Nothing more is to be delivered. The consumers that there are."""
        ended = [*self.lanes.values()]
        self.window, self.lanes, self.used = 0, {}, set()
        return ended

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
        return now < self.apt_at + LARGE

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
