"""What kind of server it is: its version, and the settings on which the promises depend."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

from hiredis import HiredisError

from backburner.brokers.redis.link import Link
from backburner.errors import BrokerError

OLDEST = (6, 2)
"""The oldest Redis over which the suite was run, and the oldest whose ACLs know channels."""
log = logging.getLogger("backburner")


class Server(NamedTuple):
    """What INFO and CONFIG say."""

    product: str
    version: tuple[int, ...]
    role: str
    policy: str
    persistent: bool | None
    """Whether it writes to its disk; None where it does not say."""
    info: dict[str, str]

    @property
    def name(self) -> str:
        return f"{self.product} {'.'.join(map(str, self.version))}"


def check(link: Link, url: str) -> None:
    """Refuse a server that is too old; warn of one that may lose jobs. Raises `BrokerError`."""
    found = look(link)
    refuse_old(found.product, found.version, url)
    for risk in risks(found):
        log.warning("%s: %s", url, risk)


def refuse_old(product: str, version: tuple[int, ...], url: str) -> None:
    """Raise `BrokerError` for a version that is too old."""
    if product == "Redis" and version < OLDEST:
        raise BrokerError(
            f"{url} is Redis {'.'.join(map(str, version))}, and Backburner needs "
            f"{'.'.join(map(str, OLDEST))} or newer, or Valkey: upgrade the server"
        )


def look(link: Link) -> Server:
    """Ask the server about itself. Raises `HiredisError`, `OSError`."""
    info = _fields(link.ask("INFO"))
    valkey = "valkey_version" in info
    number = info.get("valkey_version") or info.get("redis_version", "0")
    return Server(
        product="Valkey" if valkey else "Redis",
        version=tuple(int(part) for part in number.split(".") if part.isdigit()),
        role=info.get("role", "master"),
        policy=info.get("maxmemory_policy", "noeviction"),
        persistent=info.get("aof_enabled") == "1" or _saves(link),
        info=info,
    )


def risks(found: Server) -> Iterator[str]:
    """What may be lost with these settings, a sentence each."""
    if found.policy != "noeviction":
        yield (
            f"its maxmemory-policy is {found.policy}: when its memory is full it deletes jobs that wait; "
            "set it to noeviction, so that enqueue raises an error instead"
        )
    if found.persistent is False:
        yield (
            "it writes nothing to its disk: all jobs are lost when it stops; set appendonly yes (and "
            "appendfsync always, if not even the last second may be lost)"
        )


def _saves(link: Link) -> bool | None:
    """Whether snapshots are made; None where CONFIG is forbidden, as in many managed services."""
    try:
        answer: list[Any] = link.ask("CONFIG", "GET", "save")
    except HiredisError:
        return None
    return bool(answer[1]) if len(answer) == 2 else None


def _fields(text: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in text.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}
