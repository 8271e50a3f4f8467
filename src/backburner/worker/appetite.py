"""How many jobs to claim: as many as have room now, and as many as will find room before others can come.

1. Each kind of task (coroutine, thread, process) has its own slots. Its room is its free slots, plus what
   it will finish during two round trips at the pace seen so far, less what was claimed and has not started:
   those in hand have to last until the answer to this claim is back, and what that brings until the next is.
   With one, slots stood empty every other time (decision 51). Jobs end in lumps, too: so it is what it
   finishes in 10 ms, at least. Long jobs are never hoarded: at a minute a job, that adds nothing.
2. One claim asks for all slots and half of what may be ahead, at most, so that the other half runs while it
   is under way. Asking for all of it made large and small batches alternate, and the worker waited for each
   large one.
3. A claim cannot know what it will bring; the mix seen so far says how far the scarcest kind lets it go.
4. A kind without room is left out of the claim, so that its jobs do not block those of the others. Such a
   claim goes by the mix of the others among themselves, and teaches only that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from backburner.task import Kind

MOST_AHEAD = 2048
"""Claimed and not started at most, above the free slots; larger batches gain little beyond it."""
AT_LEAST = 0.01
"""Seconds that what is claimed ahead lasts at least, at the pace seen so far. With 0 a thousand jobs of 50 ms
at once reached 0.89 of the ideal on Redis, with 0.01 0.93, and with 0.03 no more (two runs each).
"""
RAREST = 0.001
"""Share of a kind that has not been seen for long. A claim may still bring too many of it, which go back.
With a hundredth, two slots of a kind that never came held all claims down to 200 jobs, and the drain to half.
"""
WEIGHT = 0.2
"""Of the newest observation in each moving average."""


class Wanted(NamedTuple):
    """How many jobs to claim, and the kinds that have no room."""

    limit: int
    full: frozenset[Kind]


class Appetite:
    """The moving averages of one worker, and the size of its next claim."""

    def __init__(self, slots: Mapping[Kind, int]) -> None:
        self._slots = slots
        self._round_trip = 0.0
        self._seconds: dict[Kind, float] = {}
        self._share: dict[Kind, float] = {kind: 1 / len(slots) for kind in slots}

    def exchanged(self, seconds: float, brought: Mapping[Kind, int], full: Collection[Kind] = ()) -> None:
        """An exchange took that long and brought so many jobs of each kind but those, which it left out."""
        self._round_trip += WEIGHT * (seconds - self._round_trip)
        asked = self._share.keys() - full
        together, total = (sum(each.get(kind, 0) for kind in asked) for each in (self._share, brought))
        for kind in asked if total else ():
            seen = RAREST + (1 - RAREST * len(asked)) * brought.get(kind, 0) / total
            self._share[kind] += WEIGHT * (seen * together - self._share[kind])

    def ran(self, kind: Kind, seconds: float) -> None:
        """Attempts of that kind took that long, on average."""
        average = self._seconds.get(kind, seconds)
        self._seconds[kind] = average + WEIGHT * (seconds - average)

    def wanted(self, running: Mapping[Kind, int], unstarted: Mapping[Kind, int]) -> Wanted:
        rooms = {kind: self._room(kind, running[kind], unstarted[kind]) for kind in self._slots}
        full = frozenset(kind for kind, room in rooms.items() if room <= 0)
        together = sum(share for kind, share in self._share.items() if kind not in full)
        limits = [room / (self._share[kind] / together) for kind, room in rooms.items() if kind not in full]
        return Wanted(max(1, int(min(limits))) if limits else 0, full)

    def _room(self, kind: Kind, running: int, unstarted: int) -> int:
        slots, ahead = self._slots[kind], self._ahead(kind)
        return min(slots - running + ahead - unstarted, slots + ahead // 2)

    def _ahead(self, kind: Kind) -> int:
        if kind not in self._seconds:
            return 0
        pace = self._slots[kind] / max(self._seconds[kind], 1e-6)
        return min(MOST_AHEAD, round(pace * max(2 * self._round_trip, AT_LEAST)))
