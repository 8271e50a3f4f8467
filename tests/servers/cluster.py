"""Redis Cluster: three primaries that share the slots, without replicas."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from redis import RedisError

from tests.servers.base import Group
from tests.servers.redis import RedisServer

SLOTS = 16384


class RedisCluster(Group):
    """Down as a whole while one of the three `members` is, as Redis has it by default."""

    members: Sequence[RedisServer]

    def __init__(self, folder: Path | None = None, *options: str, node_timeout: int = 1000) -> None:
        more = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout), *options)
        self.members = [RedisServer(folder and folder / f"node-{number}", *more) for number in range(3)]
        self._met = False

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{member.port}" for member in self.members)

    def wait_ready(self) -> None:
        if not self._met:
            self._meet()
        super().wait_ready()

    def _meet(self) -> None:
        share = SLOTS // len(self.members) + 1
        for number, member in enumerate(self.members):
            first, last = number * share, min((number + 1) * share, SLOTS) - 1
            with member.client() as client:
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
                client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
                for other in self.members[:number]:
                    client.execute_command("CLUSTER MEET", "127.0.0.1", other.port)
        self._met = True

    def is_ready(self) -> bool:
        return all(self._is_complete(member) for member in self.members)

    def _is_complete(self, member: RedisServer) -> bool:
        try:
            with member.client() as client:
                info = client.execute_command("CLUSTER INFO")
        except RedisError:
            return False
        return bool(info["cluster_state"] == "ok" and info["cluster_size"] == str(len(self.members)))
