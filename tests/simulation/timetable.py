"""The schedules of a simulated world, and what they have to fire: reckoned here once more, by other means.

1. The instants of a schedule are reckoned from its text in a way of this file's own.
2. The judge is told of each write, in the order of the store. The next fire that is stored moves along the
   instants: nothing is passed over and nothing comes twice, until the schedule is changed or deleted.
3. Each move has left some instants behind. The policy says which of them had to be enqueued.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from backburner.schedule import Schedule

if TYPE_CHECKING:
    from tests.simulation.world import World

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
CRONS = {"*/2 * * * *": 2 * MINUTE, "0 * * * *": HOUR, "30 2 * * *": DAY}
DAILY, BERLIN = "30 2 * * *", "Europe/Berlin"
SCALES = (
    {"all": 5 * MINUTE, "newest": "*/2 * * * *", "alone": MINUTE},
    {"all": HOUR, "newest": "0 * * * *", "alone": HOUR / 2},
    {"all": 6 * HOUR, "newest": DAILY, "alone": 8 * HOUR},
)
"""How often the declared schedules fire; those of one world are of one kind."""
LATE = 45.0
"""Seconds that a request may travel: what it found late by so much less was decided before."""


def declared(scale: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The schedules that the code declares, as options of a periodic task."""
    zone = {"tz": BERLIN} if scale["newest"] == DAILY else {}
    return {
        "all": {"every": scale["all"], "missed": "all", "missed_cap": 10_000},
        "newest": {"cron": scale["newest"], "jitter": 10.0, "missed": "once", **zone},
        "alone": {"every": scale["alone"], "overlap": "skip", "missed": "skip"},
    }


def drawn(chance: Random, scale: dict[str, Any]) -> dict[str, Any]:
    """What somebody makes up at run time."""
    options: dict[str, Any] = {"missed": chance.choice(("skip", "once", "all")), "missed_cap": 10_000}
    if chance.random() < 0.3:
        return {**options, "cron": scale["newest"], "tz": BERLIN if scale["newest"] == DAILY else "UTC"}
    every = scale["all"] * chance.choice((0.2, 0.5, 1.0))
    return {
        **options,
        "every": every,
        "anchor": chance.choice((0.0, 7.5)),
        "jitter": chance.choice((0.0, 5.0)),
    }


def instants(schedule: Schedule, start: float, end: float) -> list[float]:
    """When it fires, from `start` until just before `end`."""
    if schedule.cron == DAILY:
        return [at for at in _half_past_two(start, end) if start <= at < end]
    step = schedule.every or CRONS[schedule.cron or ""]
    first = schedule.anchor + -(-(start - schedule.anchor) // step) * step
    return [
        first + i * step for i in range(max(0, round((end - first) / step) + 1)) if first + i * step < end
    ]


def _half_past_two(start: float, end: float) -> list[float]:
    """On each day in Berlin: the first one where it comes twice, and where it does not come, 3 o'clock."""
    zone = ZoneInfo(BERLIN)
    day = datetime.fromtimestamp(start, zone).replace(hour=2, minute=30, second=0, microsecond=0, fold=0)
    found = []
    for i in range(-1, int((end - start) // DAY) + 3):
        local = day + timedelta(days=i)
        at = local.astimezone(UTC)
        if at.astimezone(zone).hour != 2:
            at = local.replace(hour=1, minute=0).astimezone(UTC) + timedelta(hours=1)
        found.append(at.timestamp())
    return found


class Timetable:
    def __init__(self, world: World) -> None:
        self.world = world
        self.stored: dict[str, tuple[Schedule, float]] = {}
        self.expected: dict[str, set[float]] = defaultdict(set)
        """The instants that had to be enqueued, by schedule."""

    def saved(self, schedule: Schedule, next_at: float) -> None:
        """`next_at` is what is stored now."""
        before = self.stored.get(schedule.name)
        if before is not None and before[0] == schedule and before[1] != next_at:
            self._broke(schedule.name, f"was saved as it was, and its fire of {before[1]:.0f} is skipped")
        if not instants(schedule, next_at, next_at + 0.001):
            self._broke(schedule.name, f"is to fire at {next_at:.3f}, which is no time of it")
        if abs(next_at - self.world.now) > 2 * DAY:
            self._broke(schedule.name, f"is to fire at {next_at:.0f} only")
        self.stored[schedule.name] = schedule, next_at

    def deleted(self, name: str) -> None:
        self.stored.pop(name, None)

    def advanced(
        self, name: str, seen: float, next_at: float | None, run_ats: Sequence[float], *, busy: bool
    ) -> list[float]:
        """It moved from `seen` to `next_at`, and jobs were enqueued; their instants."""
        if name not in self.stored:
            self._broke(name, "fired after it was deleted")
            return []
        schedule, due = self.stored[name]
        assert next_at is not None
        if due != seen:
            self._broke(name, f"fired for {seen:.0f}, and {due:.0f} was next")
        self.stored[name] = schedule, next_at
        times = instants(schedule, seen, next_at)
        now = self.world.now
        latest = now + max(self.world.clock_errors)
        if not times or times[-1] > latest or not instants(schedule, next_at, next_at + 0.001):
            self._broke(name, f"moved from {seen:.0f} to {next_at:.0f} at {now:.0f}")
        fired = [max((at for at in times if at <= run_at), default=run_at) for run_at in run_ats]
        self.expected[name].update(self._wanted(schedule, times, fired, busy=busy))
        return fired

    def _wanted(
        self, schedule: Schedule, times: list[float], fired: list[float], *, busy: bool
    ) -> list[float]:
        if schedule.overlap == "skip" and busy:
            return []
        if schedule.missed == "all" and schedule.overlap == "allow":
            return times
        newest = times[-1:]
        if schedule.missed == "skip" and newest:
            errors, late = self.world.clock_errors, self.world.now - newest[0]
            if late + min(errors) - LATE > schedule.grace:
                return []
            if late + max(errors) > schedule.grace:  # it depends on when the request was made, by which clock
                return fired if fired == newest else []
        return newest

    def stand_still(self) -> list[str]:
        """The schedules whose time has passed."""
        passed = self.world.now - 2 * self.world.pace - 5.0
        return [name for name, (_, next_at) in self.stored.items() if next_at < passed]

    def _broke(self, name: str, what: str) -> None:
        self.world.oracle.broke("-", f"schedule {name} {what}")
