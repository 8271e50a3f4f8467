"""What a RabbitMQ URL says."""

from __future__ import annotations

import pytest

from backburner.brokers.rabbitmq.address import read
from backburner.errors import ConfigError


def test_a_short_url_means_the_machine_itself() -> None:
    found = read("amqp://")
    assert (found.hosts, found.username, found.vhost, found.queues) == (
        (("localhost", 5672),),
        "guest",
        "/",
        "quorum",
    )


def test_a_full_url_is_read() -> None:
    found = read(
        "amqps://us%40er:p%2Fw@one,two:5673/shop%2Feu?prefix=x&queues=classic&patience=3&verify=verify_none"
    )
    assert found.hosts == (("one", 5671), ("two", 5673))
    assert (found.username, found.password, found.vhost) == ("us@er", "p/w", "shop/eu")
    assert (found.tls, found.prefix, found.queues, found.patience, found.verify) == (
        True,
        "x",
        "classic",
        3.0,
        False,
    )


def test_an_address_in_brackets_is_read() -> None:
    assert read("amqp://[::1]:5673/").hosts == (("::1", 5673),)


def test_the_password_is_not_shown() -> None:
    assert "secret" not in read("amqp://me:secret@host/").shown


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("amqp://host/?queue=classic", "did you mean 'queues'"),
        ("amqp://host/?queues=mirrored", "takes quorum or classic"),
        ("amqp://host/?patience=-1", "takes seconds"),
        ("amqp://host:port/", "is no RabbitMQ URL"),
    ],
)
def test_a_wrong_url_says_what_to_write(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read(url)
