"""Where a job waits: its band, its levels of delay, and names that RabbitMQ can take."""

from __future__ import annotations

from fnmatch import fnmatch

import pytest

from backburner.brokers.rabbitmq.schema import LONGEST, Part, Schema, band_of
from backburner.errors import BrokerError, ConfigError

SCHEMA = Schema("app", "quorum")


@pytest.mark.parametrize(
    ("priority", "band"),
    [
        (100, "urgent"),
        (50, "urgent"),
        (49, "high"),
        (1, "high"),
        (0, "normal"),
        (-1, "low"),
        (-49, "low"),
        (-50, "idle"),
        (-100, "idle"),
    ],
)
def test_each_priority_belongs_to_one_band(priority: int, band: str) -> None:
    assert band_of(priority) == band


def seconds_spent(delay: float) -> tuple[int, str]:
    """How long the levels keep a message, and the last exchange that it comes to."""
    exchange, key, _ = SCHEMA.route("mail", "normal", delay)
    bindings = [
        given
        for method, given in SCHEMA.declarations(Part("delays"))
        if method in ("queue_bind", "exchange_bind")
    ]
    levels = {
        given["queue"]: given["arguments"]
        for method, given in SCHEMA.declarations(Part("delays"))
        if method == "queue_declare"
    }
    spent = 0
    while exchange != "app.due":
        [found] = [
            given
            for given in bindings
            if given.get("exchange", given.get("source")) == exchange and matches(given["routing_key"], key)
        ]
        if "queue" in found:
            spent += levels[found["queue"]]["x-message-ttl"] // 1000
            exchange = levels[found["queue"]]["x-dead-letter-exchange"]
        else:
            exchange = found["destination"]
    return spent, exchange


def matches(pattern: str, key: str) -> bool:
    """As a topic exchange does, for patterns that end with `#` at most."""
    words, wanted = key.split("."), pattern.split(".")
    if wanted[-1] == "#":
        words, wanted = words[: len(wanted) - 1], wanted[:-1]
    return len(words) == len(wanted) and all(map(fnmatch, words, wanted))


@pytest.mark.parametrize("delay", [1, 2, 3, 59, 3600, 86_399, 1_000_000, LONGEST])
def test_the_levels_keep_a_job_for_just_its_delay(delay: int) -> None:
    assert seconds_spent(delay) == (delay, "app.due")


@pytest.mark.parametrize(("delay", "kept"), [(0.001, 1), (1.5, 2)])
def test_a_part_of_a_second_is_a_whole_one(delay: float, kept: int) -> None:
    assert seconds_spent(delay)[0] == kept


@pytest.mark.parametrize("queue", ["mail", "a.b", "*", "#", "naïve 'quoted' 📷", "x" * 140])
def test_a_due_job_finds_the_queue_of_its_name_and_band(queue: str) -> None:
    _, key, parts = SCHEMA.route(queue, "high", 5)
    found = [
        given["queue"]
        for name in (queue, "mail", "other")
        for band in ("high", "normal")
        for method, given in SCHEMA.declarations(Part("work", name, band))
        if method == "queue_bind" and matches(given["routing_key"], key)
    ]
    assert set(found) == {SCHEMA.name(parts[0])}
    assert len(key.encode()) <= 255


def test_a_delay_beyond_the_levels_is_refused() -> None:
    with pytest.raises(BrokerError, match="delayed by 268435455 s"):
        SCHEMA.route("mail", "normal", LONGEST + 1)


def test_a_name_that_is_too_long_is_refused() -> None:
    with pytest.raises(ConfigError, match="too long a name"):
        SCHEMA.route("x" * 250, "normal")
