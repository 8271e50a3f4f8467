"""Redis Sentinel: a primary, its replica, and one sentinel, which decides alone and soon."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from redis import RedisError

from tests.servers.base import Group
from tests.servers.redis import RedisServer

NAME = "primary"


class Member(RedisServer):
    """It starts as the leader's replica, unless it is the leader."""

    leader: RedisServer

    def command(self) -> list[str]:
        # Without the delay of 5 s in which a primary waits for more replicas before it sends its data.
        command = [*super().command(), "--repl-diskless-sync-delay", "0"]
        return (
            command if self.leader is self else [*command, "--replicaof", "127.0.0.1", str(self.leader.port)]
        )


class Sentinel(RedisServer):
    """It keeps what it knows in its configuration file, which it writes itself from then on."""

    leader: RedisServer

    def prepare(self) -> None:
        file = self.folder / "sentinel.conf"
        if not file.exists():
            # Less than 1 s would find servers down to which it merely connects again, once a second.
            file.write_text(
                f"sentinel monitor {NAME} 127.0.0.1 {self.leader.port} 1\n"
                f"sentinel down-after-milliseconds {NAME} 1500\n"
                f"sentinel failover-timeout {NAME} 3000\n"
            )

    def command(self) -> list[str]:
        where = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder))
        return [str(self.program), str(self.folder / "sentinel.conf"), "--sentinel", *where]


class RedisSentinel(Group):
    """`kill_primary` makes the replica the next primary, within three seconds or so.

    `start` brings back whoever is away, as the replica of the primary that there is now: a sentinel would do
    the same, after more than ten seconds.
    """

    def __init__(self, folder: Path | None = None, *options: str) -> None:
        self.servers = [Member(folder and folder / name, *options) for name in ("first", "second")]
        self.sentinel = Sentinel(folder and folder / "sentinel")
        self.members = [*self.servers, self.sentinel]
        self._primary: RedisServer = self.servers[0]

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{NAME}"

    @property
    def primary(self) -> RedisServer:
        """The one that the sentinel tells its clients to use."""
        with self.sentinel.client() as client:
            port = int(client.sentinel_get_master_addr_by_name(NAME)[1])
        self._primary = next(server for server in self.servers if server.port == port)
        return self._primary

    def kill_primary(self) -> None:
        self.primary.kill()

    def start(self) -> Self:
        leader = self.primary if self.sentinel.running else self._primary
        self.servers.sort(key=lambda server: server is not leader)
        for server in self.servers:
            server.leader = leader
        self.sentinel.leader = leader
        self.members = [*self.servers, self.sentinel]
        return super().start()

    def is_ready(self) -> bool:
        """Whether the next failover can come: the replica has all of it, and the sentinel knows that."""
        try:
            with self.sentinel.client() as client, self.primary.client() as primary:
                replicas = client.sentinel_slaves(NAME)
                role, _, copies = primary.role()
        except RedisError:
            return False
        known = any(not each["is_sdown"] and each["master-link-status"] == "ok" for each in replicas)
        return bool(role == "master" and len(copies) == 1 and known)
