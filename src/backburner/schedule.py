"""When a periodic task fires. Pure; times are seconds since the epoch.

1. The fires of a schedule are a fixed set of instants, the same on every machine: `anchor + k * every`,
   or the minutes (seconds) at which the wall clock of `tz` matches `cron`. `next_fire` walks that set.
2. `validated` refuses a declaration that is wrong, never fires, or whose fires would overtake each other.
3. A broker stores the next fire. `due` gives what to enqueue when it has come, and the fire to store
   instead. Where several are due at once nobody was there for the older ones: they were missed, and so
   was the newest if it is later than `grace`. `missed` says which of them run all the same.
4. The id and the jitter of a fire's job come from the schedule's name and the time of the fire alone, so
   two workers that act on one fire enqueue one job.

When the clocks change, as in Debian's cron: a schedule at set times of the day runs once, right after the
gap if its time was skipped, the first time if its time comes twice. A schedule whose minute or hour starts
with `*`, or that has a field for seconds, follows the wall clock, through an hour that comes twice as well.
"""

from __future__ import annotations

import hashlib
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from itertools import count, dropwhile, islice, pairwise, takewhile
from typing import Literal, get_args
from uuid import UUID

import msgspec
from cronsim import CronSim, CronSimError

from backburner.errors import ConfigError, MissingDependency
from backburner.job import NO_OPTIONS, Options

Missed = Literal["skip", "once", "all"]
Overlap = Literal["allow", "skip"]

_DAY = 86_400
LEAST = 0.001
"""Seconds between two fires, at least."""
# Between these, calendars and floats are exact, and cronsim has room to look 50 years ahead.
_BEFORE_ALL = math.nextafter(0.0, -1.0)
_AFTER_ALL = datetime(9900, 1, 1, tzinfo=UTC).timestamp()


class Schedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a periodic task fires, and what each fire enqueues. Stored by the broker as JSON.

    Decoding checks nothing, so that one schedule that this machine cannot read does not hide the others.
    """

    name: str
    """Unique in a broker."""
    task: str
    cron: str | None = None
    """Minute, hour, day of month, month, day of week; seconds may come first. Either this or `every`."""
    tz: str = "UTC"
    """The IANA time zone whose wall clock `cron` reads."""
    every: float | None = None
    """Seconds between fires; they do not count from a start, but fall on `anchor + k * every`."""
    anchor: float = 0.0
    payload: bytes = b"[]"
    """The encoded arguments, as in `JobRecord`."""
    queue: str = "default"
    priority: int = 0
    options: Options = NO_OPTIONS
    missed: Missed = "once"
    """Of the fires that were missed, run none, the newest, or all (at most `missed_cap`, the newest)."""
    missed_cap: int = 100
    overlap: Overlap = "allow"
    """skip: no fire while the job of the previous one is not final."""
    jitter: float = 0.0
    """Seconds; each job is delayed by its own part of them."""
    grace: float = 60.0
    """Seconds by which a fire may be late and still does not count as missed."""


class Fire(msgspec.Struct, frozen=True):
    """One job to enqueue: for the fire of `at`, to run at `run_at`, under an id of its own."""

    at: float
    run_at: float
    job_id: str


class Due(msgspec.Struct, frozen=True):
    """What to enqueue now, oldest first, and the next fire to store (None: it never fires again)."""

    fires: tuple[Fire, ...]
    next_at: float | None


def validated(schedule: Schedule) -> Schedule:
    """The same schedule. Raises `ConfigError` that says what to change."""

    def wrong(what: str) -> ConfigError:
        return ConfigError(f"schedule {schedule.name!r}: {what}")

    if (schedule.cron is None) == (schedule.every is None):
        raise wrong("give one of the two: cron='0 3 * * *', or every=60 (seconds)")
    for field, least in (("every", LEAST), ("jitter", 0), ("grace", 0), ("missed_cap", 1)):
        value = getattr(schedule, field)
        if value is not None and not least <= value < math.inf:
            raise wrong(f"{field} takes a number from {least:g} up, not {value!r}")
    if not abs(schedule.anchor) < _AFTER_ALL:
        raise wrong(f"anchor takes seconds since the epoch, not {schedule.anchor!r}")
    for field, known in (("missed", get_args(Missed)), ("overlap", get_args(Overlap))):
        if getattr(schedule, field) not in known:
            raise ConfigError.unknown(
                f"{field} policy of schedule {schedule.name!r}:", getattr(schedule, field), known
            )
    first = list(islice(_fires(schedule, 0), 10))
    if not first:
        raise wrong(f"it never fires ({describe(schedule)}); correct cron, every or anchor")
    gap = min((later - sooner for sooner, later in pairwise(first)), default=math.inf)
    if schedule.jitter >= gap:
        raise wrong(f"jitter={schedule.jitter:g} mixes up fires that are {gap:g} s apart; give less")
    return schedule


def next_fire(schedule: Schedule, after: float) -> float | None:
    """The first fire later than `after`, or None if there is none."""
    return next(_fires(schedule, after), None)


def due(schedule: Schedule, next_at: float | None, now: float, *, busy: bool = False) -> Due:
    """What to do at `now`, when the stored next fire is `next_at`.

    `busy` says that the job of the previous fire is not final; it matters with overlap="skip" only.
    """
    if next_at is None or now < next_at:
        return Due((), next_at)
    alone = schedule.overlap == "skip"
    most = max(schedule.missed_cap, 1) if schedule.missed == "all" and not alone else 1
    times = _newest(schedule, next_at, min(now, _AFTER_ALL), most)
    if (busy and alone) or (schedule.missed == "skip" and times and times[-1] < now - schedule.grace):
        times = ()
    return Due(tuple(_fire(schedule, at) for at in times), next_fire(schedule, now))


def describe(schedule: Schedule) -> str:
    """The schedule in words, as in `At 03:00 every day, Europe/Berlin`."""
    if schedule.cron is not None:
        return f"{_parsed(schedule.cron, 0, UTC).explain()}, {schedule.tz}"
    every = schedule.every or math.inf
    for unit, seconds in (("d", _DAY), ("h", 3600), ("min", 60)):
        if every % seconds == 0:
            return f"Every {every / seconds:.15g} {unit}"
    return f"Every {every:.15g} s"


def _fire(schedule: Schedule, at: float) -> Fire:
    digest = hashlib.sha256(f"{schedule.name}@{at!r}".encode()).digest()
    # A UUID of version 8 (RFC 9562) that starts with the time, so that it sorts among the other job ids.
    bits = int(at * 1000) << 80 | int.from_bytes(digest[:10])
    job_id = UUID(int=bits & ~(0xF << 76) & ~(0x3 << 62) | 8 << 76 | 2 << 62)
    part = int.from_bytes(digest[10:16]) / 2**48
    return Fire(at, at + schedule.jitter * part, str(job_id))


def _newest(schedule: Schedule, first: float, now: float, most: int) -> tuple[float, ...]:
    """The newest `most` of the fires from `first` to `now`, oldest first.

    Looks back further and further: years of downtime cost a few times `most` fires, not all of them.
    (cronsim can iterate backwards, but never returned for `*/30 23 * * SAT` in America/Nuuk, March 2026.)
    """
    span = 1.0
    while True:
        start = max(first, now - span)
        fires = takewhile(lambda at: at <= now, _fires(schedule, math.nextafter(start, -math.inf)))
        newest = tuple(deque(fires, maxlen=most))
        if start == first or len(newest) == most:
            return newest
        span *= 4


def _fires(schedule: Schedule, after: float) -> Iterator[float]:
    """Every fire later than `after`, oldest first."""
    after = min(max(after, _BEFORE_ALL), _AFTER_ALL)
    fires: Iterator[float]
    if schedule.cron is not None:
        fires = _cron_fires(schedule.cron, _zone(schedule.tz), math.floor(after))
    else:
        every, anchor = schedule.every or math.inf, schedule.anchor
        if not (every >= LEAST and abs(anchor) < _AFTER_ALL):
            # Nobody has validated what is stored, and such steps would never get there.
            raise ConfigError(
                f"schedule {schedule.name!r}: every={every:g} from anchor={anchor:g} is no schedule; save it "
                "again, or delete it"
            )
        lowest = math.floor((after - anchor) / every)
        fires = (anchor + k * every for k in count(lowest))
    return takewhile(lambda at: at < _AFTER_ALL, dropwhile(lambda at: at <= after, fires))


def _cron_fires(cron: str, zone: tzinfo, after: int) -> Iterator[float]:
    parsed = _parsed(cron, after, zone)
    if parsed.fixup_tz is not None:  # set times of the day
        yield from (fire.timestamp() for fire in parsed)
        return
    # Across a change by half an hour (`*/20 3 * * *` in Australia/Lord_Howe) or at midnight (`*/20 1 * * FRI`
    # in Africa/Cairo) cronsim loses fires. Under one offset it is exact: begin again where that changes.
    while True:
        for fire in _parsed(cron, after, timezone(_offset(zone, after + 1))):
            at = int(fire.timestamp())
            change = _offset_change(zone, after + 1, at)
            if change is not None:
                after = change - 1
                break
            yield float(at)
            after = at
        else:
            return


def _parsed(cron: str, after: int, zone: tzinfo) -> CronSim:
    try:
        return CronSim(cron, datetime.fromtimestamp(after, zone))
    except CronSimError as error:
        raise ConfigError(
            f"cron expression {cron!r}: {str(error).lower()}; give minute, hour, day of month, month, "
            "day of week, as in '30 3 * * 1-5' (at 03:30 from Monday to Friday)"
        ) from error


def _offset_change(zone: tzinfo, start: int, end: int) -> int | None:
    """The first second after `start`, up to `end`, at which `zone` has another offset than at `start`."""
    offset = _offset(zone, start)
    for low in range(start, end, _DAY):
        high = min(low + _DAY, end)
        if _offset(zone, high) != offset:
            return low + bisect_left(range(low, high), True, key=lambda at: _offset(zone, at) != offset)
    return None


def _offset(zone: tzinfo, second: int) -> timedelta:
    return datetime.fromtimestamp(second, zone).utcoffset() or timedelta()


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    # Half a megabyte, for who has schedules elsewhere.
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: a folder, such as "Europe"
        known = available_timezones()
        if not known:
            raise MissingDependency("this machine has no time zone database: pip install tzdata") from error
        from difflib import get_close_matches

        near = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else "give an IANA name such as 'Europe/Berlin'"
        raise ConfigError(f"unknown time zone {name!r}; {hint}") from error
