"""A leak is found and named, and what only goes up and down is not."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from soak.verdict import KINDS, Finding, Point, Series, judge, trend

MINUTE = 60.0
HOUR = 3600.0


def finding(
    what: str,
    value: Callable[[float], float],
    *,
    seconds: float = HOUR,
    step: float = 10.0,
    warm_up: float = 0.0,
) -> Finding:
    points = [Point(number * step, value(number * step)) for number in range(int(seconds / step))]
    [found] = judge({Series("worker 1", what): points}, warm_up, warm_up)
    return found


def noise(size: float, seed: int = 1) -> Callable[[], float]:
    chance = random.Random(seed)
    return lambda: chance.gauss(0.0, size)


def sawtooth(at: float, period: float, height: float, phase: float = 0.0) -> float:
    """Rises for a period, then falls at once."""
    return height * ((at / period + phase) % 1.0)


def test_the_trend_of_a_line_is_its_slope() -> None:
    found = trend([Point(at, 5.0 + at / 60) for at in range(0, 600, 10)])
    assert found.per_hour == pytest.approx(60.0)
    assert found.growth == pytest.approx(590 / 60)
    assert found.noise == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("what", "start", "per_hour", "wobble"),
    [
        ("memory", 30.0, 6.0, 0.5),
        ("descriptors", 20.0, 5.0, 0.5),
        ("threads", 8.0, 6.0, 0.5),
        ("processes", 2.0, 2.0, 0.0),
        ("keys", 3000.0, 400.0, 30.0),
        ("dead tuples", 2000.0, 9000.0, 500.0),
        ("pick-up p99", 20.0, 100.0, 5.0),
    ],
)
def test_a_leak_is_found_through_the_noise(what: str, start: float, per_hour: float, wobble: float) -> None:
    jitter = noise(wobble)
    found = finding(what, lambda at: start + per_hour * at / HOUR + jitter())
    assert found.grows
    assert found.trend is not None
    assert found.trend.per_hour == pytest.approx(per_hour, rel=0.2)


@pytest.mark.parametrize("what", ["descriptors", "threads"])
def test_a_leak_in_whole_numbers_is_found(what: str) -> None:
    """One is left open every four minutes."""
    assert finding(what, lambda at: 14.0 + at // (4 * MINUTE)).grows


@pytest.mark.parametrize("what", sorted(KINDS))
def test_noise_is_no_leak(what: str) -> None:
    for seed in range(20):
        jitter = noise(5.0, seed)
        assert not finding(what, lambda at, jitter=jitter: 50.0 + jitter(), seconds=10 * MINUTE).grows  # type: ignore[misc]


@pytest.mark.parametrize("periods", [2, 2.5, 3.5, 7, 40])
def test_a_sawtooth_is_no_leak_wherever_it_is_cut_off(periods: float) -> None:
    for phase in range(20):
        found = finding("keys", lambda at, p=phase / 20: 100 + sawtooth(at, HOUR / periods, 5000, p))  # type: ignore[misc]
        assert not found.grows, (phase, found)


def test_a_leak_under_a_sawtooth_is_found() -> None:
    """A job in twenty is never pruned; the others are, twice a minute."""
    assert finding("keys", lambda at: 500 + at + sawtooth(at, 30.0, 600.0), step=7.0).grows


def test_a_leak_under_a_sawtooth_is_found_in_minutes() -> None:
    """One job in twenty is kept, of thirty a second; twice a minute a thousand others are pruned."""
    found = finding(
        "jobs", lambda at: 1.5 * at + sawtooth(at, 30.0, 900.0), seconds=180.0, step=2.0, warm_up=60.0
    )
    assert found.grows
    assert found.trend is not None
    assert found.trend.per_hour == pytest.approx(5400, rel=0.3)


def test_what_levels_off_is_no_leak() -> None:
    assert not finding("memory", lambda at: 60.0 - 30.0 * math.exp(-at / (5 * MINUTE))).grows


def test_the_warm_up_is_not_judged() -> None:
    rising = finding("memory", lambda at: min(at / 10, 60.0), seconds=20 * MINUTE)
    judged = finding("memory", lambda at: min(at / 10, 60.0), seconds=20 * MINUTE, warm_up=10 * MINUTE)
    assert rising.trend is not None
    assert judged.trend is not None
    assert rising.trend.growth > 0.0
    assert judged.trend.growth == 0.0


def test_what_is_stored_has_a_warm_up_of_its_own() -> None:
    points = [Point(float(at), min(at, 100.0) * 50) for at in range(300)]
    samples = {Series("redis", "keys"): points}
    assert not any(each.grows for each in judge(samples, warm_up=0.0, stored_warm_up=110.0))


def test_some_spikes_do_not_make_a_leak() -> None:
    """The garbage collector runs late, or another program takes the machine for a while near the end."""
    assert not finding("memory", lambda at: 90.0 if at > 50 * MINUTE else 30.0).grows


def test_too_few_samples_say_nothing() -> None:
    found = finding("memory", lambda at: at, seconds=MINUTE)
    assert found.trend is None
    assert not found.grows


def test_a_day_of_samples_is_judged_like_an_hour() -> None:
    assert finding("memory", lambda at: 30.0 + at / HOUR, seconds=24 * HOUR).grows
