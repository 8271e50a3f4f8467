"""From a URL to its broker: what is missing is said, and no password is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from backburner.brokers import connect, redacted
from backburner.errors import ConfigError

WITHOUT = """
import sys

class Absent:
    package = sys.argv.pop(1)

    def find_spec(self, name, *_):
        if name == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from backburner.cli import main
main()
"""


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("redis://127.0.0.1:1/0", "hiredis", "redis"),
        ("redis+cluster://127.0.0.1:1", "hiredis", "redis"),
        ("postgresql://127.0.0.1:1/shop", "psycopg", "postgres"),
    ],
)
def test_a_client_that_is_not_installed_is_asked_for_with_the_command(
    url: str, package: str, extra: str
) -> None:
    found = subprocess.run(
        [sys.executable, "-c", WITHOUT, package, "stats", "--url", url],
        capture_output=True,
        text=True,
        check=False,
    )
    scheme = url.partition(":")[0]
    assert found.stderr == (
        f"error: {scheme}:// needs the package {package}: pip install 'backburner[{extra}]'\n"
    )
    assert (found.returncode, found.stdout) == (2, "")


@pytest.mark.parametrize("scheme", ["redis", "postgresql", "sqlite"])
def test_a_url_that_cannot_be_read_is_said_without_its_password(scheme: str) -> None:
    with pytest.raises(ConfigError) as caught:
        connect(f"{scheme}://me:secret@[::1/0")
    assert "secret" not in str(caught.value)


def test_results_that_cannot_be_had_are_said_without_their_password() -> None:
    for url, results in (
        ("amqp://me:secret@localhost", "redis://:secret@[::1"),
        ("amqp://me:secret@localhost", "amqp://me:secret@localhost"),
        ("redis://:secret@localhost", "redis://:secret@localhost"),
    ):
        with pytest.raises(ConfigError) as caught:
            connect(url, results)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:a@b:c@host:1/0?prefix=x", "redis://:***@host:1/0?prefix=x"),
        ("postgresql://me:secret@host/shop", "postgresql://me:***@host/shop"),
        ("postgresql://me@host/shop", "postgresql://me@host/shop"),
        ("postgresql://host/shop?user=me&password=secret", "postgresql://host/shop?user=me&password=***"),
        (
            "postgresql://host/shop?sslpassword=secret&schema=a",
            "postgresql://host/shop?sslpassword=***&schema=a",
        ),
        ("postgresql://host/shop?listen=postgresql://me:secret@host", "postgresql://host/shop?listen=***"),
        (
            "redis+sentinel://host/shop?sentinel_password=secret",
            "redis+sentinel://host/shop?sentinel_password=***",
        ),
        ("redis://:secret@[::1", "redis://:***@[::1"),
        ("amqps://me:se/c@ret@host:5671/%2Fshop", "amqps://me:***@host:5671/%2Fshop"),
        ("sqlite:///a:b@c.db", "sqlite:///a:b@c.db"),
        ("me:secret@host", "me:secret@host"),
    ],
)
def test_no_password_is_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown
