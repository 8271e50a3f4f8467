"""What `backburner doctor` says of a Redis or Valkey. It changes nothing, and trouble is an answer, no error.

1. Does the primary answer, with this user and this database; is it new enough, and no replica? If not, the
   rest is moot.
2. Will it refuse what does not fit into its memory rather than delete jobs, and how much room is left?
3. Does it write to its disk, how soon, and did that work the last time?
4. How many clients has it, and how long does an answer take?
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

from hiredis import HiredisError

from backburner.brokers.redis import server
from backburner.brokers.redis.driver import Driver
from backburner.brokers.redis.errors import translation
from backburner.brokers.redis.link import Link
from backburner.brokers.redis.server import Server
from backburner.doctor import Check, Level
from backburner.errors import BackburnerError
from backburner.words import plural

FULL = 0.95
NEARLY = 0.8
SLOW = 0.01
"""Seconds for an answer from which on a worker that does little else loses half of its time."""
_FSYNC = {
    "always": "writes each job to its disk before it answers",
    "everysec": "writes to its disk once a second: a crash of its machine may lose the last second",
    "no": "leaves it to its system when it writes to the disk: a crash of its machine may lose half a minute",
}


def checkup(driver: Driver) -> list[Check]:
    """Every check of the server, as far as they got."""
    url = driver.address.shown
    try:
        with closing(driver.address.primary()) as link:
            found = server.look(link)
            server.refuse_old(found.product, found.version, url)
            return [
                *_primary(found, url),
                *_memory(found),
                *_disk(found, _setting(link, "appendfsync")),
                *_clients(found),
                *_speed(link),
            ]
    except (HiredisError, OSError, BackburnerError) as error:
        return [Check(Level.FAIL, str(translation(error, url)))]


def _primary(found: Server, url: str) -> Iterator[Check]:
    if found.role == "master":
        yield Check(Level.OK, f"{url} is {found.name}, a primary")
    else:
        yield Check(Level.FAIL, f"{url} is {found.name}, a read-only replica", "name the primary in the URL")
    if found.info.get("cluster_enabled") == "1":
        yield Check(Level.OK, "it belongs to a Cluster; this app's keys are all in one slot")
    copies = int(found.info.get("connected_slaves", "0"))
    if copies:
        yield Check(
            Level.OK,
            f"{plural(copies, 'replica follows', 'replicas follow')} it, a little behind",
        )


def _memory(found: Server) -> Iterator[Check]:
    used, limit = (int(found.info.get(name, "0")) for name in ("used_memory", "maxmemory"))
    if found.policy != "noeviction":
        yield Check(
            Level.FAIL if limit else Level.WARN,
            f"its maxmemory-policy is {found.policy}: when its memory is full it deletes jobs that wait",
            "CONFIG SET maxmemory-policy noeviction, and the same in its configuration file",
        )
    if not limit:
        yield Check(Level.OK, f"it uses {used / 1e6:,.1f} MB, and has no maxmemory")
    else:
        part = used / limit
        yield Check(
            Level.FAIL if part > FULL else Level.WARN if part > NEARLY else Level.OK,
            f"it uses {used / 1e6:,.1f} MB, {part:.0%} of its maxmemory",
            "give it more, keep finished jobs for less time, or delete some" if part > NEARLY else None,
        )


def _disk(found: Server, fsync: str | None) -> Iterator[Check]:
    if found.info.get("aof_enabled") == "1":
        yield Check(
            Level.OK if fsync in ("always", "everysec", None) else Level.WARN,
            f"it {_FSYNC.get(fsync or '', 'writes each job to its disk; how soon, it does not say')}",
            None if fsync in ("always", None) else "CONFIG SET appendfsync always, if that is too much",
        )
    elif found.persistent:
        yield Check(
            Level.WARN,
            "it makes snapshots only: a crash loses every job since the last one",
            "CONFIG SET appendonly yes, and the same in its configuration file",
        )
    elif found.persistent is None:
        yield Check(
            Level.WARN,
            "it has no append-only file, and does not say whether it makes snapshots (CONFIG is forbidden)",
            "look at the settings of the service that runs it",
        )
    else:
        yield Check(
            Level.FAIL,
            "it writes nothing to its disk: all jobs are lost when it stops",
            "CONFIG SET appendonly yes, and the same in its configuration file",
        )
    failed = [
        name for name in ("aof_last_write_status", "rdb_last_bgsave_status") if found.info.get(name) == "err"
    ]
    if failed:
        yield Check(Level.FAIL, f"its last write to the disk failed ({', '.join(failed)})", "look at its log")


def _clients(found: Server) -> Iterator[Check]:
    now, most = int(found.info.get("connected_clients", "0")), int(found.info.get("maxclients", "0"))
    full = bool(most) and now > NEARLY * most
    of = f" of {most:,}" if most else ""
    yield Check(
        Level.WARN if full else Level.OK,
        f"it has {plural(now, 'client', 'clients')}{of}",
        "raise its maxclients" if full else None,
    )


def _speed(link: Link) -> Iterator[Check]:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        link.ask("PING")
        times.append(time.perf_counter() - began)
    best = min(times)
    yield Check(
        Level.WARN if best > SLOW else Level.OK,
        f"it answers within {best * 1000:.1f} ms",
        "run the workers nearer to it" if best > SLOW else None,
    )


def _setting(link: Link, name: str) -> str | None:
    try:
        answer: list[bytes] = link.ask("CONFIG", "GET", name)
    except HiredisError:
        return None
    return answer[1].decode() if len(answer) == 2 else None
