"""RabbitMQ: three nodes, each on a host of its own, of which any can be cut off."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.servers.base import Group
from tests.servers.network import Host, Network, Tunnel
from tests.servers.rabbitmq import RabbitServer

SETTINGS = (
    "cluster_partition_handling = pause_minority",
    "cluster_formation.peer_discovery_backend = classic_config",
    "loopback_users = none",  # its clients come from another host
)


class ClusterNode(RabbitServer):
    """One node. It is reached by a tunnel, and by the others of its network."""

    def __init__(self, folder: Path | None, place: Host, *settings: str) -> None:
        super().__init__(folder, *settings)
        self.place = place
        self.host = place.address
        self.node = f"backburner@{place.address}"
        self.port, self.distribution = 5672, 25672

    def prepare(self) -> None:
        super().prepare()
        self.distribution = 25672  # all alike, since each has the host for itself
        # The secret by which they know each other.
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text("cluster")
            cookie.chmod(0o400)

    def command(self) -> list[str]:
        # Seconds until a node that says nothing is given up; 60 by default.
        return [*super().command(), "-kernel", "net_ticktime", "4"]

    def _name(self) -> list[str]:
        return ["-name", self.node]

    def _environment(self) -> list[str]:
        return [*self.place.enter, *super()._environment(), "RABBITMQ_USE_LONGNAME=true"]


class RabbitCluster(Group):
    """Its URL names all three, by way of the tunnels."""

    members: Sequence[ClusterNode]

    def __init__(self, folder: Path | None = None, *settings: str) -> None:
        self._all = ExitStack()
        self.network = self._all.enter_context(Network(3))
        names = [
            f"cluster_formation.classic_config.nodes.{number} = backburner@{host.address}"
            for number, host in enumerate(self.network.hosts, 1)
        ]
        self.members = [
            ClusterNode(folder and folder / host.address, host, *SETTINGS, *names, *settings)
            for host in self.network.hosts
        ]
        self.tunnels = [self._all.enter_context(Tunnel(member.place, member.port)) for member in self.members]

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{','.join(f'127.0.0.1:{tunnel.port}' for tunnel in self.tunnels)}/"

    def start(self) -> Self:
        with ThreadPoolExecutor(len(self.members)) as threads:
            list(threads.map(lambda member: member.start(), self.members))
        self.wait_ready()
        return self

    def is_ready(self) -> bool:
        return all(self.sees(member) == len(self.members) for member in self.members)

    def sees(self, member: ClusterNode) -> int:
        """How many nodes it finds running, itself among them."""
        return int(
            member.evaluate(
                "case catch rabbit_mnesia:cluster_nodes(running) of "
                "Nodes when is_list(Nodes) -> length(Nodes); _ -> 0 end"  # it pauses in a minority
            )
        )

    def leader(self, queue: str) -> ClusterNode:
        """The node that leads a quorum queue of the virtual host "/"."""
        name = f'rabbit_misc:r(<<"/">>, queue, <<"{queue}">>)'
        said = self.members[0].evaluate(
            f"element(2, amqqueue:get_pid(element(2, rabbit_amqqueue:lookup({name}))))"
        )
        return next(member for member in self.members if member.node in said)

    def elect(self, queue: str) -> None:
        """Let another node lead it, as when nodes are restarted one after the other."""
        leader = self.leader(queue)
        other = next(member for member in self.members if member is not leader)
        name = f"'%2F_{queue}'"
        leader.evaluate(f"ra:transfer_leadership({{{name}, '{leader.node}'}}, {{{name}, '{other.node}'}})")

    def part(self, lost: ClusterNode) -> None:
        """The other nodes and that one hear nothing of each other any more; its clients still reach it."""
        for member in self.members:
            if member is not lost:
                lost.place.forget(member.place)

    def join(self, lost: ClusterNode) -> None:
        for member in self.members:
            if member is not lost:
                lost.place.remember(member.place)

    def close(self) -> None:
        """End it: its nodes would say goodbye to each other, and wait for one that is cut off."""
        for member in self.members:
            member.kill()
        try:
            super().close()
        finally:
            self._all.close()
