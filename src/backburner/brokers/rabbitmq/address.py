"""What a URL says: `amqp://user:password@host:5672/vhost`, or `amqps://` with TLS.

Several hosts, `amqp://one,two:5673/`, are the nodes of a cluster: each connection goes to one of them. The
names of the parameters for TLS are those of RabbitMQ's URI specification:
https://www.rabbitmq.com/docs/uri-query-parameters
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from backburner.brokers import redacted
from backburner.errors import ConfigError


def _seconds(text: str) -> float:
    if not 0 < (seconds := float(text)) < 3600:
        raise ValueError
    return seconds


_PARAMETERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "prefix": (str, "a name"),
    "queues": ({kind: kind for kind in ("quorum", "classic")}.__getitem__, "quorum or classic"),
    "patience": (_seconds, "seconds, more than 0"),
    "heartbeat": (_seconds, "seconds, more than 0"),
    "cacertfile": (str, "a file of the certificates to trust"),
    "certfile": (str, "a file with this client's certificate"),
    "keyfile": (str, "a file with this client's key"),
    "verify": ({"verify_peer": True, "verify_none": False}.__getitem__, "verify_peer or verify_none"),
}


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """What a URL says, read and checked. Times in seconds."""

    url: str
    hosts: tuple[tuple[str, int], ...]
    username: str = "guest"
    password: str = "guest"  # noqa: S105 - RabbitMQ's own default
    vhost: str = "/"
    tls: bool = False
    prefix: str = "backburner"
    """What the names of all queues and exchanges begin with."""
    queues: str = "quorum"
    patience: float = 10.0
    heartbeat: float | None = None
    """Between two signs of life; None takes what the server proposes, which is 60."""
    cacertfile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    verify: bool = True

    @property
    def shown(self) -> str:
        """The URL for messages."""
        return redacted(self.url)

    def tls_context(self) -> ssl.SSLContext | None:
        """Raises `ConfigError` for a file that cannot be read."""
        if not self.tls:
            return None
        try:
            context = ssl.create_default_context(cafile=self.cacertfile)
            if self.certfile:
                context.load_cert_chain(self.certfile, self.keyfile)
        except OSError as error:
            raise ConfigError(f"{self.shown}: the files for TLS cannot be read: {error}") from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def read(url: str) -> Address:
    """Raises `ConfigError` for what cannot be understood."""
    try:
        return _read(url)
    except ValueError:
        raise ConfigError(
            f"{redacted(url)!r} is no RabbitMQ URL: write it as in amqp://user:password@host:5672/vhost"
        ) from None


def _read(url: str) -> Address:
    parts = urlsplit(url)
    tls = parts.scheme == "amqps"
    user, at, places = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    given: dict[str, Any] = {"username": unquote(name), "password": unquote(password)} if at else {}
    if parts.path not in ("", "/"):
        given["vhost"] = unquote(parts.path[1:])
    for key, text in parse_qsl(parts.query, keep_blank_values=True):
        if key not in _PARAMETERS:
            raise ConfigError.unknown("parameter of a RabbitMQ URL", key, _PARAMETERS)
        parse, takes = _PARAMETERS[key]
        try:
            given[key] = parse(text)
        except (ValueError, KeyError):
            raise ConfigError(f"{key}= in a RabbitMQ URL takes {takes}, not {text!r}") from None
    hosts = tuple(_host(place, 5671 if tls else 5672) for place in (places or "localhost").split(","))
    return Address(url=url, hosts=hosts, tls=tls, **given)


def _host(place: str, default: int) -> tuple[str, int]:
    parts = urlsplit(f"//{place}")
    return parts.hostname or "localhost", parts.port or default
