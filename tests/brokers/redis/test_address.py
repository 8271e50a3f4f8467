"""What a URL says, and what is wrong with one."""

from __future__ import annotations

import pytest

from backburner.brokers import connect
from backburner.brokers.redis import address
from backburner.errors import ConfigError


def test_a_url_names_host_user_and_database() -> None:
    found = address.read("redis://me:p%40ss@db.example:6400/3?prefix=shop&patience=2.5")
    assert (found.kind, found.hosts) == ("single", (("db.example", 6400),))
    assert (found.user, found.database) == (("me", "p@ss"), 3)
    assert (found.key, found.patience, found.tls) == ("{shop}", 2.5, False)


@pytest.mark.parametrize(
    ("scheme", "tls"), [("redis", False), ("rediss", True), ("valkey", False), ("valkeys", True)]
)
def test_what_is_left_out_is_the_usual(scheme: str, tls: bool) -> None:
    found = address.read(f"{scheme}://localhost")
    assert (found.hosts, found.database, found.key) == ((("localhost", 6379),), 0, "{backburner}")
    assert (found.user, found.tls) == ((), tls)


def test_a_url_may_name_sentinels_or_the_nodes_of_a_cluster() -> None:
    found = address.read("redis+sentinel://:pw@one,two:26380/service/2?sentinel_password=s&tls=true")
    assert (found.kind, found.hosts) == ("sentinel", (("one", 26379), ("two", 26380)))
    assert (found.service, found.database, found.user, found.tls) == ("service", 2, ("pw",), True)
    assert found.sentinel_user == ("s",)
    found = address.read("redis+cluster://[::1]:7000,two:7001")
    assert (found.kind, found.hosts) == ("cluster", (("::1", 7000), ("two", 7001)))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h?prefx=a", "unknown parameter of a Redis URL 'prefx'; did you mean 'prefix'?"),
        ("redis://h?sentinel_password=a", "unknown parameter"),
        ("redis://h?patience=soon", "patience=soon in a Redis URL: write seconds"),
        ("redis://h?patience=0", "patience=0"),
        ("rediss://h?ssl_cert_reqs=maybe", "ssl_cert_reqs=maybe"),
        ("redis://h?prefix={a}", "without braces"),
        ("redis://h?prefix=", "write a name"),
        ("redis://h/jobs", "'/jobs' is no database"),
        ("redis://h:port", "'h:port' is no host and port"),
        ("redis://h/²", "'/²' is no database"),
        ("redis://[::1", "brackets are for IPv6"),
        ("redis://one,two:6380", "names several hosts: write redis+sentinel://"),
        ("redis+sentinel://h", "names no service"),
        ("redis+cluster://h/1", "a Cluster has only database 0"),
        ("redsi://h", "unknown broker URL scheme 'redsi'; did you mean 'redis'?"),
    ],
)
def test_a_wrong_url_is_refused_with_the_way_to_write_it(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        connect(url)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:secret@h/jobs",
        "redis://:pass/secret@h",
        "redis://:pass#secret@h:1",
        "redis://:pass?secret@h:1",
        "redis://:pass[secret@h",
        "redis://:pass@secret@h/jobs",
        "redis+sentinel://h?sentinel_password=secret",
        "redis+cluster://:secret@one,two/3",
    ],
)
def test_a_password_is_in_no_message(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        connect(url)
    assert "secret" not in str(caught.value)


def test_a_password_is_in_no_shown_url() -> None:
    assert "secret" not in address.read("redis://me:secret@h?ssl_keyfile=secret").shown
