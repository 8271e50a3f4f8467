from __future__ import annotations

import math
from typing import Any

import pytest

from backburner import Backburner, ConfigError, Retry
from backburner.brokers import redacted
from backburner.settings import Settings

URL = "sqlite://"


def test_the_defaults_make_sense_together() -> None:
    settings = Settings.build(URL, {})
    assert settings.retry.max_attempts == 5
    assert settings.timeout is None
    assert settings.heartbeat * 2 <= settings.lease


def test_what_is_given_is_kept() -> None:
    retry = Retry(max_attempts=1)
    settings = Settings.build(URL, {"retry": retry, "lease": 60, "max_dead": 7})
    assert (settings.retry, settings.lease, settings.max_dead) == (retry, 60.0, 7)


def test_the_url_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKBURNER_URL", "sqlite:///from-env.db")
    assert Backburner().settings.url == "sqlite:///from-env.db"
    assert Backburner(URL).settings.url == URL


@pytest.mark.parametrize("scheme", ["amqp", "amqps"])
def test_the_results_of_a_transport_may_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    url = f"{scheme}://localhost"
    assert Settings.build(url, {}).results is None
    monkeypatch.setenv("BACKBURNER_RESULTS", "redis://from-env")
    assert Settings.build(url, {}).results == "redis://from-env"
    assert Settings.build(url, {"results": "redis://given"}).results == "redis://given"
    assert Settings.build(url, {"results": ""}).results is None
    monkeypatch.setenv("BACKBURNER_URL", url)
    assert Settings.build(None, {}).results == "redis://from-env"


def test_a_broker_that_keeps_results_takes_none_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKBURNER_RESULTS", "redis://from-env")
    monkeypatch.setenv("BACKBURNER_URL", URL)
    assert Settings.build(None, {}).results is None
    assert Settings.build(URL, {}).results is None


def test_a_broker_that_keeps_results_is_given_no_other_for_them() -> None:
    with pytest.raises(ConfigError, match="sqlite:// keeps their results by itself: leave results= out"):
        Backburner(URL, results="redis://localhost")


@pytest.mark.parametrize("results", ["amqp://localhost", "amqps://localhost"])
def test_a_transport_keeps_no_results_for_another(results: str) -> None:
    with pytest.raises(ConfigError, match='only moves them: write results="redis://localhost"'):
        Backburner("amqp://localhost", results=results)


def test_a_wrong_url_of_the_results_says_how_it_is_written() -> None:
    with pytest.raises(ConfigError, match="did you mean 'redis'"):
        Backburner("amqp://localhost", results="redi://localhost")


def test_without_a_url_there_is_no_app() -> None:
    with pytest.raises(ConfigError, match="set BACKBURNER_URL"):
        Backburner()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redes://host", "unknown broker URL scheme 'redes'"),
        ("sqlit:///jobs.db", "did you mean 'sqlite'"),
        ("jobs.db", "write it as in sqlite:///jobs.db"),
        ("sqlite://jobs.db", "write sqlite:///jobs.db for a file in the current folder"),
    ],
)
def test_a_wrong_url_says_how_it_is_written(url: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Backburner(url)


def test_a_misspelt_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown setting 'heartbeet'; did you mean 'heartbeat'"):
        Backburner(URL, heartbeet=5)


def test_the_url_is_no_further_setting() -> None:
    with pytest.raises(ConfigError, match="unknown setting 'url'"):
        Settings.build(URL, {"url": "sqlite:///other.db"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"lease": 0},
        {"lease": -1},
        {"lease": math.inf},
        {"lease": "30"},
        {"heartbeat": math.nan},
        {"heartbeat": 20, "lease": 30},
        {"keep_finished": 0},
        {"timeout": 0},
        {"timeout": -5},
        {"max_payload": 0},
        {"max_dead": 0},
        {"poison_after": 0},
        {"poison_after": 2.5},
        {"retry": 3},
        {"retry": None},
    ],
    ids=str,
)
def test_a_setting_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Settings.build(URL, wrong)


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Settings.build(URL, {}).lease = 5  # type: ignore[misc]


def test_a_password_is_not_shown() -> None:
    assert redacted("redis://user:secret@host/0") == "redis://user:***@host/0"
    assert redacted(URL) == URL
