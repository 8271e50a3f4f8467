"""Brokers by the scheme of their URL; each is imported only when it is used."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, cast
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
    **dict.fromkeys(
        ("amqp", "amqps"),
        Source("backburner.brokers.rabbitmq.broker", "RabbitBroker", "RabbitMQ", "rabbitmq"),
    ),
}
WITH_RESULTS = dict.fromkeys(
    ("amqp", "amqps"),
    Source("backburner.brokers.rabbitmq.results", "RabbitWithResults", "RabbitMQ with results", "rabbitmq"),
)
"""By the schemes of those that only move jobs: the same with another broker beside it, which keeps them."""


def connect(url: str, results: str | None = None) -> Broker:
    """The broker for `url`; nothing is opened yet. Raises `ConfigError`, `MissingDependency`.

    `results` names the broker that keeps the jobs and their results for one that only moves them.
    """
    source = _source(url)
    if results is None:
        return cast("Broker", _class(source, url)(url))
    if _scheme(url) not in WITH_RESULTS:
        raise ConfigError(
            f"results= is for a broker that only moves jobs, as amqp:// does; {_scheme(url)}:// keeps their "
            "results by itself: leave results= out"
        )
    _source(results)
    if _scheme(results) in WITH_RESULTS:
        raise ConfigError(
            f"results= takes a broker that keeps jobs, and {_scheme(results)}:// only moves them: "
            'write results="redis://localhost", or postgresql:// or sqlite:///results.db'
        )
    made = _class(WITH_RESULTS[_scheme(url)], url)
    return cast("Broker", made(url, connect(results)))


def expect(url: str) -> None:
    """Import the broker of `url`, which may be used later; what is wrong with it is told to who uses it."""
    with suppress(ConfigError):
        _class(_source(url), url)


def _scheme(url: str) -> str:
    return url.partition("://")[0]


def _source(url: str) -> Source:
    """Where its broker is. Raises `ConfigError` for a URL that cannot be one."""
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
    return source


def _class(source: Source, url: str) -> Callable[..., Any]:
    try:
        module = import_module(source.module)
    except ModuleNotFoundError as error:
        if not source.extra or (error.name or "").startswith("backburner"):
            raise
        raise MissingDependency(
            f"{_scheme(url)}:// needs the package {error.name}: pip install 'backburner[{source.extra}]'"
        ) from error
    return cast("Callable[..., Any]", getattr(module, source.name))


def capability_table() -> str:
    """What each broker can do, as a Markdown table for the documentation. Imports every broker."""
    classes = {
        source.title: (getattr(import_module(source.module), source.name), missing)
        for sources, missing in ((SCHEMES, "no"), (WITH_RESULTS, "as the store"))
        for source in sources.values()
    }
    lines = [f"| | {' | '.join(classes)} |", f"|---|{'---|' * len(classes)}"]
    for capability in Capability:
        marks = ["yes" if capability in cls.capabilities else missing for cls, missing in classes.values()]
        lines.append(f"| `{capability}`: {capability.meaning} | {' | '.join(marks)} |")
    return "\n".join(lines)


def redacted(url: str) -> str:
    """`url` without its passwords, for messages and logs; also of one that cannot be read."""
    url = re.sub(r"((?:^|[?&])(?:\w*password|listen)=)[^&]*", r"\1***", url)
    return re.sub(r"(://[^:/@]*:).*@", r"\1***@", url)
