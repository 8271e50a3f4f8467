from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from itertools import count, islice, pairwise, takewhile
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner.errors import ConfigError
from backburner.schedule import Due, Schedule, describe, due, next_fire, validated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
CAIRO, NUUK = "Africa/Cairo", "America/Nuuk"
# When the clocks of 2026 change, in UTC: forward, then back.
CHANGES = {
    BERLIN: ("2026-03-29 01:00", "2026-10-25 01:00"),
    NEW_YORK: ("2026-03-08 07:00", "2026-11-01 06:00"),
    LORD_HOWE: ("2026-10-03 15:30", "2026-04-04 15:00"),  # by half an hour
    CAIRO: ("2026-04-23 22:00", "2026-10-29 21:00"),  # at midnight
    NUUK: ("2026-03-29 01:00", "2026-10-25 01:00"),  # at 23:00 and at midnight
}
EVERY_CHANGE = [(tz, change) for tz, changes in CHANGES.items() for change in changes]
HOUR, DAY = 3600, 86_400
YEAR = 365 * DAY


def make(**fields: Any) -> Schedule:
    return Schedule(**{"name": "nightly", "task": "shop.tasks.nightly"} | fields)


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def wall(at: float, tz: str = "UTC") -> str:
    return datetime.fromtimestamp(at, ZoneInfo(tz)).strftime("%Y-%m-%d %H:%M")


def fires(schedule: Schedule, after: float) -> Iterator[float]:
    at = next_fire(schedule, after)
    while at is not None:
        yield at
        at = next_fire(schedule, at)


def fires_between(schedule: Schedule, first: float, last: float) -> list[float]:
    return list(takewhile(lambda at: at <= last, fires(schedule, math.nextafter(first, -math.inf))))


def times(answer: Due) -> list[float]:
    return [fire.at for fire in answer.fires]


# The calendar ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 3 * * *", "2026-01-31 03:00", ["2026-02-01 03:00", "2026-02-02 03:00"]),
        ("0 0 29 2 *", "2026-01-01", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 0 29 2 *", "2096-03-01", ["2104-02-29 00:00"]),  # 2100 is no leap year
        ("0 0 L * *", "2028-01-31", ["2028-02-29 00:00", "2028-03-31 00:00", "2028-04-30 00:00"]),
        ("0 0 31 * *", "2026-01-31", ["2026-03-31 00:00", "2026-05-31 00:00"]),
        ("30 9 * * MON-FRI", "2026-11-20 12:00", ["2026-11-23 09:30", "2026-11-24 09:30"]),
        ("0 0 * * MON#1", "2026-11-24", ["2026-12-07 00:00", "2027-01-04 00:00"]),
        ("59 23 31 12 *", "2026-12-31 23:58", ["2026-12-31 23:59", "2027-12-31 23:59"]),
    ],
)
def test_a_cron_schedule_follows_the_calendar(cron: str, after: str, expected: list[str]) -> None:
    found = islice(fires(make(cron=cron), utc(after)), len(expected))
    assert [wall(at) for at in found] == expected


def test_a_cron_expression_may_begin_with_seconds() -> None:
    assert list(islice(fires(make(cron="*/20 * * * * *"), 0), 4)) == [20, 40, 60, 80]


def test_a_cron_expression_is_read_on_the_wall_clock_of_its_zone() -> None:
    fire = next_fire(make(cron="0 3 * * *", tz="Asia/Kathmandu"), utc("2026-11-24"))
    assert fire == utc("2026-11-24 21:15")


def test_a_fire_is_strictly_later_than_the_moment_asked_about_down_to_fractions_of_a_second() -> None:
    each_minute = make(cron="* * * * *")
    assert next_fire(each_minute, 59.999_999_9) == 60
    assert next_fire(each_minute, 60) == 120
    assert next_fire(each_minute, math.nextafter(60, 0)) == 60


def test_intervals_are_counted_from_the_epoch_so_that_every_machine_has_the_same() -> None:
    assert next_fire(make(every=60.0), utc("2026-11-24 12:00:31")) == utc("2026-11-24 12:01")


def test_an_anchor_shifts_the_fires_of_an_interval_and_is_not_a_start() -> None:
    schedule = make(every=float(DAY), anchor=utc("2026-11-24 04:30"))
    assert next_fire(schedule, utc("2026-11-01")) == utc("2026-11-01 04:30")
    assert next_fire(schedule, utc("2026-12-24 05:00")) == utc("2026-12-25 04:30")


def test_an_interval_may_be_shorter_than_a_second() -> None:
    found = islice(fires(make(every=0.5), 1_800_000_000), 3)
    assert list(found) == [1_800_000_000.5, 1_800_000_001, 1_800_000_001.5]


@pytest.mark.parametrize(
    "schedule", [make(every=60.0), make(cron="* * * * *"), make(cron="0 3 * * *", tz=BERLIN)]
)
def test_a_clock_that_is_far_off_breaks_nothing(schedule: Schedule) -> None:
    first = next_fire(schedule, -1.0)
    assert first is not None
    assert 0 <= first < DAY
    for early in (-1e9, -1e300, -math.inf):
        assert next_fire(schedule, early) == first
    for late in (1e12, 1e300, math.inf):
        assert next_fire(schedule, late) is None
        assert due(schedule, first, late).next_at is None


# When the clocks change --------------------------------------------------------------------------------


@pytest.mark.parametrize(("tz", "change"), EVERY_CHANGE)
@pytest.mark.parametrize("cron", ["30 2 * * *", "15 2 * * *", "45 1 * * *", "0 3 * * *", "30 12 * * *"])
def test_a_job_at_a_set_time_runs_once_on_each_day_around_a_change(tz: str, change: str, cron: str) -> None:
    around = fires_between(make(cron=cron, tz=tz), utc(change) - 4 * DAY, utc(change) + 4 * DAY)
    days = [date.fromisoformat(wall(at, tz)[:10]) for at in around]
    assert len(days) >= 7
    assert all(later - sooner == timedelta(days=1) for sooner, later in pairwise(days))


@pytest.mark.parametrize(
    ("cron", "tz", "day", "expected"),
    [
        # Skipped: right after the gap.
        ("30 2 * * *", BERLIN, "2026-03-29", "2026-03-29 01:00"),
        ("30 2 * * *", NEW_YORK, "2026-03-08", "2026-03-08 07:00"),
        ("15 2 * * *", LORD_HOWE, "2026-10-04", "2026-10-03 15:30"),
        ("30 0 * * *", CAIRO, "2026-04-24", "2026-04-23 22:00"),
        # Twice: the first time.
        ("30 2 * * *", BERLIN, "2026-10-25", "2026-10-25 00:30"),
        ("30 1 * * *", NEW_YORK, "2026-11-01", "2026-11-01 05:30"),
        ("45 1 * * *", LORD_HOWE, "2026-04-05", "2026-04-04 14:45"),
        ("30 23 * * *", CAIRO, "2026-10-29", "2026-10-29 20:30"),
    ],
)
def test_a_set_time_that_is_skipped_runs_after_the_gap_and_one_that_comes_twice_the_first_time(
    cron: str, tz: str, day: str, expected: str
) -> None:
    midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(tz))
    whole_day = (midnight.timestamp(), (midnight + timedelta(days=1)).timestamp() - 1)
    assert fires_between(make(cron=cron, tz=tz), *whole_day) == [utc(expected)]


def test_a_set_time_is_not_run_again_by_a_worker_that_starts_in_the_repeated_hour() -> None:
    second_half_past_two = utc("2026-10-25 01:10")
    assert wall(second_half_past_two, BERLIN) == "2026-10-25 02:10"
    fire = next_fire(make(cron="30 2 * * *", tz=BERLIN), second_half_past_two)
    assert fire == utc("2026-10-26 01:30")


def test_set_times_inside_one_gap_are_run_once_together() -> None:
    schedule = make(cron="0,15,45 2,3 * * *", tz=BERLIN)
    found = fires_between(schedule, utc("2026-03-29 00:00"), utc("2026-03-29 02:00"))
    assert [wall(at, BERLIN)[-5:] for at in found] == ["03:00", "03:15", "03:45"]


@pytest.mark.parametrize(("tz", "change"), EVERY_CHANGE)
def test_a_job_of_every_minute_runs_in_every_real_minute_of_a_change(tz: str, change: str) -> None:
    start = utc(change) - 3 * HOUR
    found = fires_between(make(cron="* * * * *", tz=tz), start, start + 6 * HOUR)
    assert found == [start + 60.0 * minute for minute in range(361)]


@pytest.mark.parametrize(("tz", "change"), [each for each in EVERY_CHANGE if each[0] != LORD_HOWE])
def test_an_hourly_job_runs_in_every_real_hour_of_a_change(tz: str, change: str) -> None:
    start = utc(change) - 12 * HOUR
    found = fires_between(make(cron="40 * * * *", tz=tz), start, start + DAY)
    assert found == [start + 40 * 60 + HOUR * hour for hour in range(24)]


WALL_CLOCK: dict[str, Callable[[datetime], bool]] = {
    "40 * * * *": lambda at: at.minute == 40,
    "*/20 3 * * *": lambda at: at.hour == 3 and at.minute % 20 == 0,
    "*/10 2 * * *": lambda at: at.hour == 2 and at.minute % 10 == 0,
    "*/30 23 * * *": lambda at: at.hour == 23 and at.minute % 30 == 0,
    "5 */2 * * *": lambda at: at.hour % 2 == 0 and at.minute == 5,
    "*/30 23 29 10 *": lambda at: (at.month, at.day, at.hour) == (10, 29, 23) and at.minute % 30 == 0,
    "*/20 1 * * FRI": lambda at: at.weekday() == 4 and at.hour == 1 and at.minute % 20 == 0,
    "*/30 23 * * SAT": lambda at: at.weekday() == 5 and at.hour == 23 and at.minute % 30 == 0,
}


@pytest.mark.parametrize(("tz", "change"), EVERY_CHANGE)
@pytest.mark.parametrize("cron", WALL_CLOCK)
def test_a_cron_with_a_star_fires_when_the_wall_clock_matches(tz: str, change: str, cron: str) -> None:
    zone, start = ZoneInfo(tz), utc(change) - 36 * HOUR
    minutes = [start + 60.0 * minute for minute in range(72 * 60)]
    expected = [at for at in minutes if WALL_CLOCK[cron](datetime.fromtimestamp(at, zone))]
    assert fires_between(make(cron=cron, tz=tz), minutes[0], minutes[-1]) == expected


@pytest.mark.parametrize(("tz", "change"), EVERY_CHANGE)
@pytest.mark.parametrize("cron", ["40 * * * *", "*/20 3 * * *", "*/30 23 * * SAT", "0,30 0,1,2 * * *"])
def test_the_next_fire_is_the_same_wherever_one_begins_to_look(tz: str, change: str, cron: str) -> None:
    schedule = make(cron=cron, tz=tz)
    start = utc(change) - 2 * HOUR
    in_order = fires_between(schedule, start, start + 8 * DAY)
    for after in (start + 7.0 * 60 * step for step in range(60)):
        assert next_fire(schedule, after) == next(at for at in in_order if at > after)


# What is due -------------------------------------------------------------------------------------------

MINUTE = make(every=60.0)


def test_nothing_is_due_before_the_next_fire() -> None:
    assert due(MINUTE, 120.0, 119.999) == Due((), 120.0)


def test_a_fire_is_due_at_its_time_and_the_following_one_is_next() -> None:
    answer = due(MINUTE, 120.0, 120.0)
    assert [(fire.at, fire.run_at) for fire in answer.fires] == [(120, 120)]
    assert answer.next_at == 180


def test_a_clock_that_goes_back_fires_nothing_twice() -> None:
    answer = due(MINUTE, 120.0, 125.0)
    assert due(MINUTE, answer.next_at, 119.0) == Due((), 180.0)
    assert due(MINUTE, answer.next_at, 121.0) == Due((), 180.0)


def test_a_schedule_that_never_fires_again_stays_at_rest() -> None:
    assert due(MINUTE, None, 1e9) == Due((), None)


def test_once_makes_up_for_all_missed_fires_with_the_newest() -> None:
    answer = due(make(every=60.0, missed="once"), 120.0, 1000.0)
    assert times(answer) == [960]
    assert answer.next_at == 1020


def test_once_runs_a_missed_fire_however_late() -> None:
    answer = due(make(cron="0 3 * * *"), utc("2026-11-20 03:00"), utc("2026-11-24 02:59"))
    assert times(answer) == [utc("2026-11-23 03:00")]


def test_skip_runs_no_missed_fire() -> None:
    nightly = make(cron="0 3 * * *", missed="skip", grace=60.0)
    answer = due(nightly, utc("2026-11-20 03:00"), utc("2026-11-24 12:00"))
    assert answer == Due((), utc("2026-11-25 03:00"))


def test_skip_runs_the_newest_fire_when_it_is_late_by_no_more_than_the_grace() -> None:
    nightly = make(cron="0 3 * * *", missed="skip", grace=60.0)
    long_ago = utc("2026-11-20 03:00")
    assert times(due(nightly, long_ago, utc("2026-11-24 03:01"))) == [utc("2026-11-24 03:00")]
    assert times(due(nightly, long_ago, utc("2026-11-24 03:01") + 0.001)) == []


def test_all_runs_every_missed_fire_oldest_first() -> None:
    answer = due(make(every=60.0, missed="all"), 120.0, 330.0)
    assert times(answer) == [120, 180, 240, 300]
    assert answer.next_at == 360


def test_all_runs_at_most_as_many_as_the_cap_and_they_are_the_newest() -> None:
    answer = due(make(every=60.0, missed="all", missed_cap=3), 120.0, 100_000.0)
    assert times(answer) == [99_840, 99_900, 99_960]
    assert answer.next_at == 100_020


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (make(every=0.5, missed="all"), [20 * YEAR - 0.5 * back for back in reversed(range(100))]),
        (make(cron="* * * * * *", missed="all"), [20 * YEAR - back for back in reversed(range(100))]),
        (make(cron="* * * * *", tz=BERLIN), [20 * YEAR]),
    ],
)
def test_twenty_years_of_downtime_are_made_up_for_without_counting_each_fire(
    schedule: Schedule, expected: list[float]
) -> None:
    assert times(due(schedule, 60.0, 20.0 * YEAR)) == expected


def test_a_schedule_that_may_not_overlap_does_not_fire_while_its_last_job_is_busy() -> None:
    alone = make(every=60.0, overlap="skip")
    assert due(alone, 120.0, 120.0, busy=True) == Due((), 180.0)
    assert times(due(alone, 120.0, 120.0, busy=False)) == [120]
    assert times(due(MINUTE, 120.0, 120.0, busy=True)) == [120]


def test_a_schedule_that_may_not_overlap_makes_up_for_missed_fires_with_one() -> None:
    assert times(due(make(every=60.0, overlap="skip", missed="all"), 120.0, 1000.0)) == [960]


# What a fire enqueues ----------------------------------------------------------------------------------


def test_the_job_of_a_fire_has_the_same_id_in_every_process_and_release() -> None:
    (fire,) = due(make(name="report", every=3600.0, jitter=600.0), 1_800_000_000.0, 1_800_000_000.0).fires
    assert fire.job_id == "01a3185c-5000-8cc2-af38-78adc6918933"
    assert fire.run_at == 1800000496.9087653


def test_job_ids_are_uuids_of_their_own_for_each_schedule_and_fire() -> None:
    ids = [
        fire.job_id
        for name in ("a", "b", "a@60.0")
        for fire in due(make(name=name, every=60.0, missed="all"), 60.0, 3600.0).fires
    ]
    assert len(set(ids)) == len(ids) == 180
    assert all(str(UUID(each)) == each for each in ids)


def test_job_ids_sort_by_the_time_of_their_fires() -> None:
    ids = [fire.job_id for fire in due(make(every=0.5, missed="all"), 1.8e9, 1.8e9 + 30).fires]
    assert ids == sorted(ids)


def test_jitter_delays_each_job_by_its_own_part_and_moves_no_fire() -> None:
    schedule = make(every=60.0, jitter=30.0, missed="all", missed_cap=1000)
    answer = due(schedule, 60.0, 60_000.0)
    delays = [fire.run_at - fire.at for fire in answer.fires]
    assert times(answer) == [60.0 * number for number in range(1, 1001)]
    assert all(0 <= delay < 30 for delay in delays)
    assert min(delays) < 1
    assert max(delays) > 29
    assert answer == due(schedule, 60.0, 60_000.0)


def test_a_schedule_survives_storage() -> None:
    schedule = make(cron="*/5 * * * *", tz=BERLIN, payload=b'["\xc3\xa4"]', missed="all", jitter=2.5)
    assert msgspec.json.decode(msgspec.json.encode(schedule), type=Schedule) == schedule


# Declarations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "schedule 'nightly': give one of the two"),
        ({"cron": "* * * * *", "every": 60.0}, "give one of the two"),
        ({"every": 0.0}, "every takes a number from 0.001 up, not 0.0"),
        ({"every": math.nan}, "every takes a number"),
        ({"every": math.inf}, "every takes a number"),
        ({"every": 1e18}, "it never fires"),
        ({"every": 60.0, "anchor": math.inf}, "anchor takes seconds since the epoch, not inf"),
        ({"every": 60.0, "jitter": -1.0}, "jitter takes a number from 0 up, not -1.0"),
        ({"every": 60.0, "jitter": 60.0}, "jitter=60 mixes up fires that are 60 s apart"),
        ({"cron": "*/5 9 * * *", "jitter": 301.0}, "jitter=301 mixes up fires that are 300 s apart"),
        ({"every": 60.0, "grace": math.nan}, "grace takes a number from 0 up"),
        ({"every": 60.0, "missed_cap": 0}, "missed_cap takes a number from 1 up"),
        ({"every": 60.0, "missed": "onse"}, "missed policy of .*'nightly': 'onse'; did you mean 'once'"),
        ({"every": 60.0, "overlap": "queue"}, "overlap policy .* known: allow, skip"),
        ({"cron": "0 25 * * *"}, "'0 25 \\* \\* \\*': bad hour; give minute, hour, day of month, .*'30 3"),
        ({"cron": "@daily"}, "'@daily': wrong number of fields; give minute, hour"),
        ({"cron": "0 0 30 2 *"}, "'0 0 30 2 \\*': bad day-of-month"),
        ({"cron": "0 0 */20 * 1L"}, "it never fires"),
        ({"cron": "0 3 * * *", "tz": "Europe/Berln"}, "'Europe/Berln'; did you mean 'Europe/Berlin'"),
        ({"cron": "0 3 * * *", "tz": "Paris"}, "did you mean 'Europe/Paris'"),
        ({"cron": "0 3 * * *", "tz": "Europe"}, "unknown time zone 'Europe'"),
        ({"cron": "0 3 * * *", "tz": "../../etc/passwd"}, "unknown time zone"),
        ({"cron": "0 3 * * *", "tz": ""}, "give an IANA name such as 'Europe/Berlin'"),
    ],
)
def test_a_wrong_declaration_is_refused_with_what_to_change(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validated(make(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"every": 0.001},
        {"every": 60.0, "jitter": 59.9},
        {"every": 1e9},
        {"cron": "0 0 29 2 *", "jitter": 86_400.0},
        {"cron": "0 0 * 2 MON#5"},
        {"cron": "*/5 9-17 * JAN,JUL MON-FRI", "tz": LORD_HOWE},
    ],
)
def test_a_right_declaration_is_returned_as_it_is(fields: dict[str, Any]) -> None:
    schedule = make(**fields)
    assert validated(schedule) is schedule


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cron": "0 3 * * *", "tz": BERLIN}, "At 03:00 every day, Europe/Berlin"),
        ({"cron": "0 9 * * MON-FRI"}, "At 09:00 on Monday through Friday, UTC"),
        ({"every": 0.5}, "Every 0.5 s"),
        ({"every": 90.0}, "Every 90 s"),
        ({"every": 300.0}, "Every 5 min"),
        ({"every": 7200.0}, "Every 2 h"),
        ({"every": 604_800.0}, "Every 7 d"),
    ],
)
def test_a_schedule_is_described_in_words(fields: dict[str, Any], words: str) -> None:
    assert describe(make(**fields)) == words


# Any schedule, at any time -----------------------------------------------------------------------------

moments = st.floats(utc("2025-12-01"), utc("2027-02-01"))
zones = st.sampled_from(["UTC", "Asia/Kathmandu", *CHANGES])


@st.composite
def cron_fields(draw: st.DrawFn, low: int, high: int) -> str:
    first, last = sorted((draw(st.integers(low, high)), draw(st.integers(low, high))))
    step = draw(st.integers(1, high))
    return draw(st.sampled_from(["*", f"*/{step}", f"{first}", f"{first},{last}", f"{first}-{last}/{step}"]))


crons = st.tuples(
    cron_fields(0, 59), cron_fields(0, 23), st.sampled_from(["*", "*/2", "1,15", "L"]), st.just("*"),
    st.sampled_from(["*", "MON-FRI", "SAT", "0,3"]),
).map(" ".join)  # fmt: skip
intervals = st.builds(
    lambda every, anchor: make(every=every, anchor=anchor),
    st.floats(0.001, 1e7) | st.sampled_from([0.1, 0.5, 1.0, 60.0, 3600.0]),
    st.just(0.0) | st.floats(-1e9, 2e9),
)
schedules = intervals | st.builds(lambda cron, tz: make(cron=cron, tz=tz), crons, zones)


@given(st.text("0123456789*/-,L#W MONJAN@", max_size=16).map(lambda text: f"{text} * * *") | st.text())
def test_any_text_for_a_cron_expression_is_either_refused_or_understood(cron: str) -> None:
    try:
        schedule = validated(make(cron=cron))
    except ConfigError:
        return
    assert next_fire(schedule, 0) is not None
    assert describe(schedule).endswith(", UTC")


@given(schedules, moments)
def test_fires_follow_each_other_in_time(schedule: Schedule, after: float) -> None:
    found = list(islice(fires(schedule, after), 20))
    assert found[0] > after
    assert all(later > sooner for sooner, later in pairwise(found))


@given(intervals, moments)
def test_fires_of_an_interval_are_exactly_spaced(schedule: Schedule, after: float) -> None:
    assert schedule.every is not None
    found = list(islice(fires(schedule, after), 20))
    number = round((found[0] - schedule.anchor) / schedule.every)
    assert found == [schedule.anchor + k * schedule.every for k in islice(count(number), 20)]
    assert schedule.anchor + (number - 1) * schedule.every <= after


@given(schedules, moments, st.data())
def test_at_any_sequence_of_times_no_fire_is_lost_and_none_comes_twice(
    schedule: Schedule, start: float, data: st.DataObject
) -> None:
    every_fire = list(islice(fires(schedule, start), 40))
    schedule = msgspec.structs.replace(schedule, missed="all", missed_cap=40)
    reach = every_fire[-1] - start
    clock = data.draw(st.lists(st.floats(-0.2, 1.0).map(lambda part: start + part * reach), max_size=20))
    next_at: float | None = every_fire[0]
    fired: list[float] = []
    for now in clock:  # forward and back
        answer = due(schedule, next_at, now)
        next_at = answer.next_at
        fired += times(answer)
    assert fired == [at for at in every_fire if at <= max(clock, default=start)]
    assert next_at == next((at for at in every_fire if at > max(clock, default=start)), next_at)


@given(schedules, moments, st.sampled_from(["skip", "once", "all"]), st.integers(1, 7), st.floats(0, 1))
def test_a_policy_only_chooses_among_the_newest_due_fires(
    schedule: Schedule, start: float, missed: str, cap: int, part: float
) -> None:
    every_fire = list(islice(fires(schedule, start), 40))
    now = every_fire[0] + part * (every_fire[-1] - every_fire[0])
    came = [at for at in every_fire if at <= now]
    answer = due(msgspec.structs.replace(schedule, missed=missed, missed_cap=cap), every_fire[0], now)
    on_time = [at for at in came[-1:] if at >= now - 60]
    expected = {"skip": on_time, "once": came[-1:], "all": came[-cap:]}
    assert times(answer) == expected[missed]
    assert answer.next_at == next_fire(schedule, now)
