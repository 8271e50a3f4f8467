"""Brokers by the scheme of their URL; each is imported only when it is used."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import urlsplit

from backburner.brokers.base import Capability
from backburner.errors import ConfigError, MissingDependency

if TYPE_CHECKING:
    from backburner.brokers.base import Broker


class Source(NamedTuple):
    """Where the broker of a scheme is found."""

    module: str
    name: str
    title: str
    extra: str = ""
    """The extra of this package that installs what it needs."""


SCHEMES = {
    "sqlite": Source("backburner.brokers.sqlite.broker", "SqliteBroker", "SQLite"),
    **dict.fromkeys(
        ("redis", "rediss", "valkey", "valkeys", "redis+sentinel", "redis+cluster"),
        Source("backburner.brokers.redis.broker", "RedisBroker", "Redis", "redis"),
    ),
    **dict.fromkeys(
        ("postgresql", "postgres"),
        Source("backburner.brokers.postgres.broker", "PostgresBroker", "PostgreSQL", "postgres"),
    ),
}


def connect(url: str) -> Broker:
    """The broker for `url`; nothing is opened yet. Raises `ConfigError`, `MissingDependency`."""
    scheme, colon, _ = url.partition("://")
    if not colon:
        raise ConfigError(f"{redacted(url)!r} is no broker URL: write it as in sqlite:///jobs.db")
    source = SCHEMES.get(scheme)
    if source is None:
        raise ConfigError.unknown("broker URL scheme", scheme, SCHEMES)
    try:
        urlsplit(url)
    except ValueError as error:
        raise ConfigError(
            f"{redacted(url)!r} is no broker URL: {error}; brackets are for IPv6 addresses, as in [::1], and "
            "in a password [ is written %5B"
        ) from None
    try:
        module = import_module(source.module)
    except ModuleNotFoundError as error:
        if not source.extra or (error.name or "").startswith("backburner"):
            raise
        raise MissingDependency(
            f"{scheme}:// needs the package {error.name}: pip install 'backburner[{source.extra}]'"
        ) from error
    return cast("Broker", getattr(module, source.name)(url))


def capability_table() -> str:
    """What each broker can do, as a Markdown table for the documentation. Imports every broker."""
    classes = {
        source.title: getattr(import_module(source.module), source.name) for source in SCHEMES.values()
    }
    lines = [f"| | {' | '.join(classes)} |", f"|---|{'---|' * len(classes)}"]
    for capability in Capability:
        marks = ["yes" if capability in cls.capabilities else "no" for cls in classes.values()]
        lines.append(f"| `{capability}`: {capability.meaning} | {' | '.join(marks)} |")
    return "\n".join(lines)


def redacted(url: str) -> str:
    """`url` without its passwords, for messages and logs; also of one that cannot be read."""
    url = re.sub(r"((?:^|[?&])(?:\w*password|listen)=)[^&]*", r"\1***", url)
    return re.sub(r"(://[^:/@]*:).*@", r"\1***@", url)
