"""The one place where errors of hiredis and of sockets become errors of Backburner.

1. What soon passes (a failover, a start, a lost connection) is tried again by the driver, within its
   patience.
2. What passes when somebody has done something (memory, a disk) is `BrokerUnavailable` at once.
3. What needs another URL, another right or another server is a `BrokerError`.
"""

from __future__ import annotations

import re
from ssl import SSLError
from typing import Final

from hiredis import ReplyError

from backburner.errors import BackburnerError, BrokerError, BrokerUnavailable

# The first word of the server's answer, and what it means.
_PASSING: Final = {
    "READONLY": "is a read-only replica: name the primary in the URL, or wait until a failover is over",
    "LOADING": "still reads its data after a start",
    "BUSY": "is busy with a long script: `SCRIPT KILL` ends it, if it has written nothing",
    "CLUSTERDOWN": "is a Cluster that has lost nodes, and serves nothing until they are replaced",
    "TRYAGAIN": "is moving this app's keys to another node",
    "ASK": "is moving this app's keys to another node",
    "MOVED": "has given this app's keys to another node; for a Cluster write redis+cluster:// in the URL",
    "MASTERDOWN": "has lost its primary",
    "CLIENTS": "has as many clients as it takes: raise its maxclients, or close some",
}
_TEMPORARY: Final = {
    "OOM": "has reached its maxmemory; nothing was stored: give it memory, or delete jobs",
    "MISCONF": "cannot write to its disk, and refuses writes; nothing was stored: look at its log",
    "NOREPLICAS": "has fewer replicas than its min-replicas-to-write asks for; nothing was stored",
}
_PERMANENT: Final = {
    "WRONGPASS": "refuses the user or the password: correct them in the URL",
    "NOAUTH": "asks for a password: write it in the URL, as in redis://:PASSWORD@HOST",
    "NOPERM": "does not let this user do that: docs/brokers/redis.md lists the rights that it needs",
    "DATABASE": "has no database of that number: correct the end of the URL",
    "TLS": "makes no TLS connection: check that TLS is spoken there, and name the certificates to trust, as "
    "in ?ssl_ca_certs=FILE",
}
_SIGNS: Final = {
    "max number of clients": "CLIENTS",
    "invalid password": "WRONGPASS",
    "without any password": "WRONGPASS",
    "DB index is out of range": "DATABASE",
    "invalid DB index": "DATABASE",
}
"""What it means by ERR."""
_WITHIN: Final = re.compile(r"-([A-Z]{3,}) ")
"""Redis 6.2 wraps what a command in a script said into an error of its own."""


def code(error: Exception) -> str:
    """One word for what happened: the server's own, if it answered."""
    text = str(error)
    if isinstance(error, OSError):  # an EOF in TLS: the other side went away, or never spoke it
        return "TLS" if isinstance(error, SSLError) and "EOF" not in text else "LOST"
    word = text.partition(" ")[0]
    if word != "ERR":
        return word
    if (within := _WITHIN.search(text)) is not None:
        return within[1]
    return next((found for sign, found in _SIGNS.items() if sign in text), word)


def leaves_open(error: ReplyError) -> bool:
    """Whether the connection is as good as before; after other errors another one is wanted."""
    return code(error) in ("OOM", "MISCONF", "NOREPLICAS", "NOPERM", "BUSY")


def passing(error: Exception, kind: str) -> bool:
    """Whether the same request to this kind of address may soon succeed."""
    found = code(error)
    if found in ("MOVED", "ASK") and kind != "cluster":
        return False
    return found == "LOST" or found in _PASSING


def translation(error: Exception, url: str) -> BackburnerError:
    """What to raise for an error of hiredis or of the system."""
    if isinstance(error, BackburnerError):
        return error
    found, text = code(error), str(error) or type(error).__name__
    if found == "LOST" and url.startswith(("rediss:", "valkeys:")) and re.search("time|eof", text.lower()):
        return BrokerUnavailable(f"{url} does not answer: is it running, and is TLS spoken there? ({text})")
    if found == "LOST":
        return BrokerUnavailable(f"{url} cannot be reached or does not answer: is it running? ({text})")
    if (message := _PASSING.get(found) or _TEMPORARY.get(found)) is not None:
        return BrokerUnavailable(f"{url} {message} ({text})")
    if (message := _PERMANENT.get(found)) is not None:
        return BrokerError(f"{url} {message} ({text})")
    return BrokerError(f"{url} refused a request: {text}")
