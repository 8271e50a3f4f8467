"""Brokers by the scheme of their URL; each is imported only when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import urlsplit

from backburner.errors import ConfigError

if TYPE_CHECKING:
    from backburner.brokers.base import Broker


class Source(NamedTuple):
    """Where the broker of a scheme is found."""

    module: str
    name: str


SCHEMES = {
    "sqlite": Source("backburner.brokers.sqlite.broker", "SqliteBroker"),
}


def connect(url: str) -> Broker:
    """The broker for `url`; nothing is opened yet. Raises `ConfigError`."""
    scheme, colon, _ = url.partition("://")
    if not colon:
        raise ConfigError(f"{redacted(url)!r} is no broker URL: write it as in sqlite:///jobs.db")
    source = SCHEMES.get(scheme)
    if source is None:
        raise ConfigError.unknown("broker URL scheme", scheme, SCHEMES)
    return cast("Broker", getattr(import_module(source.module), source.name)(url))


def redacted(url: str) -> str:
    """`url` without its password, for messages and logs."""
    password = urlsplit(url).password
    return url.replace(f":{password}@", ":***@") if password else url
