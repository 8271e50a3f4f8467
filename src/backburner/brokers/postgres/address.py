"""A broker URL taken apart: our own parameters, and the rest as libpq reads it."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from backburner.errors import ConfigError

_DEFAULTS = {
    "connect_timeout": "5",
    "application_name": "backburner",
    # A machine that is gone without a word is noticed after some ten seconds.
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}


class Address(NamedTuple):
    """Where the database is, and how it is used."""

    conninfo: dict[str, str]
    """What psycopg connects with."""
    listen: dict[str, str]
    """The same for the connection that listens, which may go past a pooler."""
    schema: str
    patience: float

    @property
    def place(self) -> str:
        """For messages: without the password."""
        host, port = self.conninfo.get("host", "localhost"), self.conninfo.get("port", "5432")
        return f"{host}:{port}/{self.conninfo.get('dbname', '')}"


def parsed(url: str) -> Address:
    """Raises `ConfigError`."""
    base, _, query = url.partition("?")
    own, rest = {"schema": "backburner", "patience": "10", "listen": ""}, []
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if name in own:
            own[name] = unquote(value)
        else:
            rest.append(part)  # as it is: libpq reads a plus as a plus
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,39}", own["schema"]):
        raise ConfigError(
            f"schema={own['schema']!r} is no name for a schema: up to 40 letters, digits and underscores"
        )
    try:
        patience = float(own["patience"])
    except ValueError:
        patience = -1.0
    if not 0 <= patience < 3600:
        raise ConfigError(f"patience={own['patience']!r} is no number of seconds from 0 to 3600")
    conninfo = _libpq(f"{base}?{'&'.join(rest)}")
    listen = _libpq(own["listen"]) if own["listen"] else conninfo
    return Address(conninfo, listen, own["schema"], patience)


def _libpq(url: str) -> dict[str, str]:
    try:
        found = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        # What libpq quotes may be the password, or hold it: only the name of a parameter is passed on.
        names = re.findall(r"[?&](\w+)=", url)
        why = re.sub(r'"(.*?)"', lambda found: found[0] if found[1] in names else "(…)", str(error).strip())
        raise ConfigError(
            f"libpq cannot read the URL: {why}; a password needs its special characters percent-encoded; "
            "Backburner's own parameters are schema, patience and listen"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"the URL is no UTF-8 where it is percent-encoded: {error.reason}; encode it anew"
        ) from None
    return _DEFAULTS | {name: str(value) for name, value in found.items() if value is not None}
