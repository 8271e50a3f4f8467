"""What a URL says, as people write it, and that a password in it is shown to nobody."""

from __future__ import annotations

import traceback

import pytest

from backburner.brokers import redacted
from backburner.brokers.postgres.address import parsed
from backburner.brokers.postgres.broker import PostgresBroker
from backburner.errors import ConfigError
from tests.brokers.postgres.conftest import add, ids
from tests.servers.postgres import PostgresServer


def test_a_socket_instead_of_a_host(postgres_server: PostgresServer, url: str) -> None:
    query = url.partition("?")[2]
    broker = PostgresBroker(
        f"postgresql:///postgres?host={postgres_server.folder}&port={postgres_server.port}&user=postgres&{query}"
    )
    job = add(broker)
    assert ids(broker) == {job.id}
    broker.close()


def test_a_password_with_special_characters() -> None:
    given = parsed(
        "postgresql://u%40x:p%25%40%2F%3F#+@one:1,two:2/app?schema=s&options=-c%20a%3Db+c"
    ).conninfo
    assert (given["user"], given["password"], given["host"]) == ("u@x", "p%@/?#+", "one,two")
    assert given["options"] == "-c a=b+c"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hush%zz@h/db",
        "postgresql://u:hush@[::1/db",
        "postgresql://u:hush@h/db?shema=x",
        "postgresql://h/db?password=hush%zz",
        "postgresql://h/db?listen=postgresql%3A%2F%2Fu%3Ahush%25zz%40h%2Fdb",
    ],
)
def test_a_url_that_cannot_be_read_keeps_its_password_to_itself(url: str) -> None:
    with pytest.raises(ConfigError, match=r"libpq cannot read the URL: .*(percent|IPv6|shema)") as caught:
        parsed(url)
    assert "hush" not in "".join(traceback.format_exception_only(caught.value))
    assert caught.value.__suppress_context__
    assert "hush" not in redacted(url)


@pytest.mark.parametrize("password", ["hush", "hu#sh", "hu@sh", "hu/sh", "hu%sh", "hu:sh"])
def test_no_password_in_messages(password: str) -> None:
    assert redacted(f"postgresql://u:{password}@h/db?x=1") == "postgresql://u:***@h/db?x=1"
    assert redacted(f"postgresql://h/db?password={password}&x=1") == "postgresql://h/db?password=***&x=1"
