"""What a URL says, and where the primary is that it means.

1. `redis://user:password@host:6379/0`, `rediss://` with TLS, `valkey://` and `valkeys://` for the same of
   Valkey.
2. `redis+sentinel://host:26379,host:26379/service/0`: a Sentinel is asked each time that a connection is
   opened, so that the primary is found again after a failover.
3. `redis+cluster://host:6379,host:6379`: any node says who has the slot of the app's keys.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec
from hiredis import HiredisError

from backburner.brokers import redacted
from backburner.brokers.redis.link import Link
from backburner.errors import ConfigError

HANDSHAKE = 5.0
"""Seconds that a connection may take to open, and a server to answer, at most."""

_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _flag(text: str) -> bool:
    return _FLAGS[text.lower()]


def _seconds(text: str) -> float:
    if not 0 < (seconds := float(text)) < 3600:
        raise ValueError
    return seconds


_TLS: dict[str, tuple[Callable[[str], Any], str]] = {
    "ssl_ca_certs": (str, "a file of the certificates to trust"),
    "ssl_certfile": (str, "a file with this client's certificate"),
    "ssl_keyfile": (str, "a file with this client's key"),
    "ssl_cert_reqs": (
        {
            "required": ssl.CERT_REQUIRED,
            "optional": ssl.CERT_OPTIONAL,
            "none": ssl.CERT_NONE,
        }.__getitem__,
        "required or none",
    ),
    "ssl_check_hostname": (_flag, "true or false"),
}
_PARAMETERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "prefix": (str, "a name"),
    "patience": (_seconds, "seconds, more than 0"),
    "sentinel_username": (str, "a name"),
    "sentinel_password": (str, "a password"),
    "tls": (_flag, "true or false"),
    **_TLS,
}


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """What a URL says, read and checked."""

    url: str
    kind: str
    """single, sentinel or cluster"""
    hosts: tuple[tuple[str, int], ...]
    service: str = ""
    database: int = 0
    user: tuple[str, ...] = ()
    """The arguments of AUTH: name and password, or a password alone."""
    tls: bool = False
    tls_options: dict[str, Any] = {}
    sentinel_user: tuple[str, ...] = ()
    prefix: str = "backburner"
    patience: float = 10.0

    @property
    def shown(self) -> str:
        """The URL for messages."""
        return redacted(self.url).partition("?")[0]

    def connect(self, host: str, port: int) -> Link:
        """A connection to that server, as the user of the URL. Raises `HiredisError`, `OSError`."""
        return self._connect(host, port, self.user, self.database)

    def _connect(self, host: str, port: int, user: tuple[str, ...], database: int = 0) -> Link:
        link = Link(host, port, timeout=min(self.patience, HANDSHAKE), tls=self._tls_context())
        try:
            if user:
                link.ask("AUTH", *user)
            if database:
                link.ask("SELECT", database)
        except BaseException:
            link.close()
            raise
        return link

    def _tls_context(self) -> ssl.SSLContext | None:
        """Raises `ConfigError` for a file that cannot be read."""
        if not self.tls:
            return None
        given = self.tls_options
        try:
            context = ssl.create_default_context(cafile=given.get("ssl_ca_certs"))
            if "ssl_certfile" in given:
                context.load_cert_chain(given["ssl_certfile"], given.get("ssl_keyfile"))
        except OSError as error:
            raise ConfigError(f"{self.shown}: the files for TLS cannot be read: {error}") from error
        trust = given.get("ssl_cert_reqs", ssl.CERT_REQUIRED)
        context.check_hostname = given.get("ssl_check_hostname", True) and trust != ssl.CERT_NONE
        context.verify_mode = trust
        return context

    def primary(self) -> Link:
        """A connection to the server that takes writes now."""
        if self.kind == "sentinel":
            return self.connect(*self._ask(self._sentinel_says))
        if self.kind == "cluster":
            return self.connect(*self._ask(self._node_says))
        return self.connect(*self.hosts[0])

    def _ask(self, question: Callable[[str, int], tuple[str, int]]) -> tuple[str, int]:
        """What the first of the hosts says that answers."""
        errors: list[Exception] = []
        for host, port in self.hosts:
            try:
                return question(host, port)
            except (HiredisError, OSError) as error:
                errors.append(error)
        raise errors[-1]

    def _sentinel_says(self, host: str, port: int) -> tuple[str, int]:
        with closing(self._connect(host, port, self.sentinel_user)) as link:
            found = link.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        if found is None:
            raise ConfigError(
                f"the Sentinel {host}:{port} knows no service {self.service!r}: write the name that its "
                "`sentinel monitor` line gives"
            )
        return found[0].decode(), int(found[1])

    def _node_says(self, host: str, port: int) -> tuple[str, int]:
        with closing(self.connect(host, port)) as link:
            slot = link.ask("CLUSTER", "KEYSLOT", self.key)
            for first, last, primary, *_ in link.ask("CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    return (primary[0] or b"").decode() or host, primary[1]
        raise ConnectionError(f"no node of the Cluster has slot {slot}")

    @property
    def key(self) -> str:
        """What every key of the app begins with: the braces keep them in one slot of a Cluster."""
        return f"{{{self.prefix}}}"


def read(url: str) -> Address:
    """Read a URL. Raises `ConfigError`, with the nearest name for a parameter that is not known."""
    parts = _parts(url)
    kind = {"redis+sentinel": "sentinel", "redis+cluster": "cluster"}.get(parts.scheme, "single")
    given = _parameters(parts.query, kind)
    user, _, hosts = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    service, database = _path(url, parts.path, kind)
    sentinel = _user(given.get("sentinel_username", ""), given.get("sentinel_password", ""))
    prefix = given.get("prefix", "backburner")
    if not prefix or set(prefix) & set("{}"):
        raise ConfigError(f"prefix={prefix} names no keys: write a name without braces")
    return Address(
        url=url,
        kind=kind,
        hosts=_hosts(url, hosts, kind),
        service=service,
        database=database,
        user=_user(unquote(name), unquote(password)),
        tls=parts.scheme in ("rediss", "valkeys") or given.get("tls", False),
        tls_options={key: value for key, value in given.items() if key in _TLS},
        sentinel_user=sentinel,
        prefix=prefix,
        patience=given.get("patience", 10.0),
    )


def _user(name: str, password: str) -> tuple[str, ...]:
    return (name, password) if name else (password,) if password else ()


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or "@" in parts.path + parts.query + parts.fragment:
        raise ConfigError(
            f"{redacted(url)} is no URL: brackets are for IPv6, as in [::1]; in a password write %2F for /, "
            "%3F for ?, %23 for #, %40 for @, %5B for [ and %5D for ]"
        )
    return parts


def _parameters(query: str, kind: str) -> dict[str, Any]:
    known = {name: what for name, what in _PARAMETERS.items() if kind == "sentinel" or "sentinel" not in name}
    found = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise ConfigError.unknown("parameter of a Redis URL", name, known)
        convert, what = known[name]
        try:
            found[name] = convert(text)
        except (ValueError, KeyError):
            raise ConfigError(f"{name}={text} in a Redis URL: write {what}") from None
    return found


def _hosts(url: str, text: str, kind: str) -> tuple[tuple[str, int], ...]:
    found, port = [], 26379 if kind == "sentinel" else 6379
    if kind == "single" and "," in text:
        raise ConfigError(
            f"{redacted(url)} names several hosts: write redis+sentinel:// or redis+cluster://, or one host"
        )
    for each in text.split(","):
        try:
            parts = urlsplit(f"//{each}")
            found.append((parts.hostname or "localhost", parts.port or port))
        except ValueError:
            raise ConfigError(f"{redacted(url)}: {each!r} is no host and port") from None
    return tuple(found)


def _path(url: str, path: str, kind: str) -> tuple[str, int]:
    """The service and the number of the database."""
    parts = [unquote(part) for part in path.split("/") if part]
    service = parts.pop(0) if kind == "sentinel" and parts else ""
    if kind == "sentinel" and not service:
        raise ConfigError(
            f"{redacted(url)} names no service: write redis+sentinel://HOST:PORT,HOST:PORT/SERVICE"
        )
    number = parts.pop(0) if parts else "0"
    if parts or not number.isdecimal() or (kind == "cluster" and number != "0"):
        what = (
            "a Cluster has only database 0"
            if kind == "cluster"
            else "write the number of a database, as in /0"
        )
        raise ConfigError(f"{redacted(url)}: {path!r} is no database: {what}")
    return service, int(number)
