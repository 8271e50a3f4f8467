"""Whether a series of samples grows. Pure.

1. Samples from before the end of the warm-up are left out: caches fill, and nothing is pruned yet.
   Of what is stored only the floor counts, the lowest value of the last `TOOTH` seconds: it goes up until
   the next pruning or vacuum, and what these leave behind is the leak.
2. What is left is thinned to `BINS` points, medians of neighbours.
3. The trend is the Theil-Sen estimate: the median of the slopes between all pairs of points, which more than
   a quarter of outliers cannot move (P. K. Sen, "Estimates of the Regression Coefficient Based on Kendall's
   Tau", Journal of the American Statistical Association 63, 1968, pages 1379 to 1389).
4. The noise is what the points are away from that line: their median absolute deviation, times 1.4826, by
   which it is a normal distribution's standard deviation.
5. It grows when the line rises, from the first point to the last, by more than `NOISE` times the noise, more
   than `least`, and more than `share` of its level. So a sawtooth passes, whose line rises by no more than
   its teeth are high, once two whole teeth are seen; the longer the run, the smaller the leak that is found.
6. What levels off is no leak: it has to rise in the second half of the time, too, at a third of the pace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import median
from typing import NamedTuple

BINS = 120
TOOTH = 40.0
"""Seconds; a bit more than between two prunings."""
NOISE = 3.0
NORMAL = 1.4826
FEWEST = 8
"""Points below which nothing is said about a trend."""
STEADY = 1 / 3
BRIEF = 6
"""Teeth; with fewer of them the floor has too few steps to look at its second half."""


class Point(NamedTuple):
    """A sample: seconds since the start of the run, and the value."""

    at: float
    value: float


class Series(NamedTuple):
    """What a series is called: whose it is, and what was measured."""

    whose: str
    what: str


class Kind(NamedTuple):
    """How one kind of measure is judged; `look` tells where what grows may come from."""

    unit: str
    least: float
    share: float
    look: str
    stored: bool = False
    """It fills until the first jobs are pruned, and has a longer warm-up."""


class Trend(NamedTuple):
    """A line through points: `growth` is how far it rises in their time."""

    level: float
    per_hour: float
    growth: float
    noise: float


class Finding(NamedTuple):
    """What the verdict says about one series; `trend` is None where there are too few points."""

    series: Series
    kind: Kind
    trend: Trend | None
    limit: float
    grows: bool


KINDS = {
    "memory": Kind("MB", 3.0, 0.03, "tracemalloc in that process; buffers and caches without a bound"),
    "descriptors": Kind("", 3.0, 0.0, "ls -l /proc/PID/fd: files, sockets and pipes that nobody closes"),
    "threads": Kind("", 4.0, 0.0, "py-spy dump --pid PID: threads and pools that nobody ends"),
    "processes": Kind("", 1.0, 0.0, "ps --forest: child processes that nobody waits for"),
    "jobs": Kind("", 50.0, 0.02, "worker/maintenance.py and the broker's prune: jobs past retention", True),
    "backlog": Kind("jobs", 20.0, 0.5, "more was asked for than this machine runs: lower --rate"),
    "keys": Kind("", 50.0, 0.02, "the broker's scripts: keys that outlive their job", True),
    "rows": Kind("", 50.0, 0.02, "the broker's prune: rows that outlive their job", True),
    "size": Kind("MB", 3.0, 0.03, "the broker's tables, indexes or values that are never freed", True),
    "indexes": Kind("MB", 2.0, 0.1, "pg_stat_user_indexes: an index whose dead entries are not reused", True),
    "log": Kind("MB", 5.0, 0.5, "the write-ahead log is not worked off: a reader that holds it open", True),
    "dead tuples": Kind("", 2000.0, 0.5, "pg_stat_activity.backend_xmin: a transaction left open", True),
    "connections": Kind("", 2.0, 0.0, "the broker's link or pool: connections that nobody gives back"),
    "channels": Kind("", 2.0, 0.0, "brokers/rabbitmq/link.py: channels that nobody closes"),
    "queues": Kind("", 2.0, 0.0, "brokers/rabbitmq/topology.py: queues that nobody deletes"),
    "messages": Kind("", 50.0, 0.5, "copies and dead letters that nobody acknowledges", True),
    "pick-up p50": Kind(
        "ms", 10.0, 0.5, "the claim gets slower: its plan, or the size of what it looks through"
    ),
    "pick-up p99": Kind(
        "ms", 50.0, 0.5, "the claim gets slower: its plan, or the size of what it looks through"
    ),
    "result p99": Kind("ms", 50.0, 0.5, "the way back of results: wake-ups, lookups by id"),
}


def judge(samples: Mapping[Series, Sequence[Point]], warm_up: float, stored_warm_up: float) -> list[Finding]:
    """One finding for each series of a known kind; `stored_warm_up` is for what is in the broker."""
    return [
        judge_one(
            series, KINDS[series.what], points, stored_warm_up if KINDS[series.what].stored else warm_up
        )
        for series, points in samples.items()
        if series.what in KINDS
    ]


def judge_one(series: Series, kind: Kind, points: Sequence[Point], warm_up: float) -> Finding:
    warm = [point for point in points if point.at >= warm_up]
    judged = thinned(floor(warm) if kind.stored else warm)
    if len(judged) < FEWEST:
        return Finding(series, kind, None, kind.least, grows=False)
    found = trend(judged)
    limit = max(kind.least, kind.share * abs(found.level), NOISE * found.noise)
    late = trend(judged[len(judged) // 2 :])
    brief = kind.stored and judged[-1].at - judged[0].at < BRIEF * TOOTH
    steady = brief or late.per_hour >= STEADY * found.per_hour
    return Finding(series, kind, found, limit, grows=found.growth > limit and steady)


def trend(points: Sequence[Point]) -> Trend:
    slope = median(
        (later.value - sooner.value) / (later.at - sooner.at)
        for sooner, later in combinations(points, 2)
        if later.at > sooner.at
    )
    heights = [point.value - slope * point.at for point in points]
    middle = median(heights)
    noise = NORMAL * median(abs(height - middle) for height in heights)
    level = median(point.value for point in points)
    return Trend(level, slope * 3600, slope * (points[-1].at - points[0].at), noise)


def floor(points: Sequence[Point]) -> list[Point]:
    lowest: list[Point] = []
    first = 0
    for number, point in enumerate(points):
        while points[first].at <= point.at - TOOTH:
            first += 1
        if first:
            lowest.append(Point(point.at, min(each.value for each in points[first : number + 1])))
    return lowest


def thinned(points: Sequence[Point]) -> list[Point]:
    step = -(-len(points) // BINS) or 1
    bins = [points[first : first + step] for first in range(0, len(points), step)]
    return [Point(median(each.at for each in group), median(each.value for each in group)) for group in bins]
