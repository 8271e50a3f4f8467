from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backburner import ConfigError, Retry
from backburner.retry import RetryAfter, class_name

EXACT = Retry(jitter=0)


class Flaky(ConnectionError):
    pass


def delays(policy: Retry, error: BaseException, attempts: int) -> list[float]:
    return [policy.delay(error, attempt, 0.5) for attempt in range(1, attempts + 1)]


def test_the_waits_grow_by_four_up_to_an_hour() -> None:
    assert delays(EXACT, OSError(), 8) == [1, 4, 16, 64, 256, 1024, 3600, 3600]


@pytest.mark.parametrize("factor", [4, 1e9])
def test_a_job_that_has_failed_for_years_waits_as_long_as_the_cap(factor: float) -> None:
    assert Retry(factor=factor, jitter=0).delay(OSError(), 10_000_000, 0.5) == 3600


@given(st.integers(1, 100), st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_jitter_keeps_near_the_nominal_wait(attempt: int, chance: float, jitter: float) -> None:
    nominal = EXACT.delay(OSError(), attempt, 0.5)
    delay = Retry(jitter=jitter).delay(OSError(), attempt, chance)
    assert nominal * (1 - jitter) <= delay <= nominal * (1 + jitter)


def test_jitter_spreads_a_crowd_that_failed_together() -> None:
    policy = Retry(first=100, jitter=0.1)
    assert [policy.delay(OSError(), 1, chance) for chance in (0, 0.5, 0.75)] == [90, 100, 105]


def test_an_exception_class_may_have_its_own_wait_and_the_nearest_class_counts() -> None:
    policy = Retry(jitter=0, delays={OSError: 7, ConnectionError: 9})
    assert policy.delay(FileNotFoundError(), 3, 0.5) == 7
    assert policy.delay(Flaky(), 3, 0.5) == 9
    assert policy.delay(ValueError(), 3, 0.5) == 16


def test_a_task_may_say_itself_when_to_try_again() -> None:
    assert EXACT.delay(Retry.after(90), 3, 0.5) == 90
    assert str(Retry.after(90)) == "the task asked to be tried again in 90 s"
    assert str(Retry.after(90, "the shop is closed")) == "the shop is closed"


@pytest.mark.parametrize("seconds", [math.inf, math.nan])
def test_a_wait_without_end_is_a_mistake(seconds: float) -> None:
    with pytest.raises(ValueError, match="number of seconds"):
        Retry.after(seconds)


def test_attempts_are_used_up_after_the_last_one() -> None:
    policy = Retry(max_attempts=3)
    assert [policy.refusal(OSError(), attempt, 0) for attempt in (1, 2)] == [None, None]
    assert policy.refusal(OSError(), 3, 0) == "attempts used up (3 of 3)"
    assert policy.refusal(Retry.after(5), 3, 0) == "attempts used up (3 of 3)"


def test_only_the_classes_named_are_retried() -> None:
    policy = Retry(on=(OSError,))
    assert policy.refusal(Flaky(), 1, 0) is None
    assert policy.refusal(ValueError(), 1, 0) == "not retryable: ValueError"
    assert policy.refusal(Retry.after(5), 1, 0) is None


def test_some_classes_are_never_retried() -> None:
    policy = Retry(never=(ConnectionError,))
    assert policy.refusal(OSError(), 1, 0) is None
    assert policy.refusal(Flaky(), 1, 0) == f"not retryable: {class_name(Flaky)}"
    assert Retry(on=(OSError,), never=(Flaky,)).refusal(Flaky(), 1, 0) is not None


def test_retries_end_with_their_window() -> None:
    policy = Retry(retry_for=60)
    assert policy.refusal(OSError(), 1, 59) is None
    assert policy.refusal(OSError(), 1, 60) == "retry window of 60 s has passed"


def test_a_class_may_be_given_by_its_name_where_it_cannot_be_imported() -> None:
    policy = Retry(never=(class_name(Flaky), "shop.errors.Closed"), delays={"OSError": 5}, jitter=0)
    assert policy.refusal(Flaky(), 1, 0) is not None
    assert policy.delay(FileNotFoundError(), 1, 0.5) == 5


@given(
    st.builds(
        Retry,
        max_attempts=st.integers(1, 100),
        first=st.floats(0, 100),
        on=st.sampled_from([(), (OSError,), (OSError, Flaky)]),
        delays=st.sampled_from([{}, {Flaky: 3.0}]),
        retry_for=st.none() | st.floats(0, 1e6),
    )
)
def test_a_policy_travels_with_its_job(policy: Retry) -> None:
    assert msgspec.json.decode(msgspec.json.encode(policy), type=Retry) == policy


def test_a_policy_of_a_newer_version_is_understood_as_far_as_it_goes() -> None:
    found = msgspec.json.decode(b'{"max_attempts": 2, "of_the_future": 1}', type=Retry)
    assert found == Retry(max_attempts=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_attempts": 0},
        {"first": -1},
        {"factor": math.inf},
        {"cap": math.nan},
        {"jitter": 1.5},
        {"on": (5,)},
        {"never": (int,)},
        {"delays": {OSError: -1}},
        {"retry_for": -1},
    ],
    ids=str,
)
def test_a_policy_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Retry(**wrong)


def test_a_retry_request_is_an_ordinary_exception_for_the_task() -> None:
    assert isinstance(Retry.after(1), Exception)
    assert isinstance(Retry.after(1), RetryAfter)
