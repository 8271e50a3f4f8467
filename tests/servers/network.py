"""A network that no other can reach, with hosts that can be cut off: network namespaces and a bridge.

1. Each host is a network namespace. One more, the hub, has the bridge and an end of each host's cable. None
   has a name: each belongs to a process that waits for us, and goes with it, whatever becomes of the tests.
2. A server is started on a host by entering its namespace first (`enter`).
3. The tests and their workers stay outside. A `Tunnel` carries what they say to a port of the loopback
   onto a host: a socket belongs to the namespace in which it was made, and stays there.
4. Unplugging a cable cuts a host off from everybody. Forgetting the way to another host cuts it off from
   that one alone.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import subprocess
from asyncio import StreamReader, StreamWriter
from contextlib import ExitStack
from pathlib import Path
from typing import Self, TypeVar

from tests.servers.proxy import Proxy

NEW_NETWORK = 0x4000_0000  # CLONE_NEWNET
HERE = Path("/proc/thread-self/ns/net")


class Namespace:
    """A network of its own, which ends with a process of ours."""

    def __init__(self) -> None:
        self._keeper = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo made && read -r ended"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._keeper.stdout
        assert self._keeper.stdout.readline() == b"made\n", "no network namespace can be made: are you root?"

    @property
    def pid(self) -> int:
        """The process that it belongs to."""
        return self._keeper.pid

    @property
    def enter(self) -> list[str]:
        """The command before a command that shall run in it."""
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net"]

    def ip(self, words: str) -> None:
        done = subprocess.run(
            [*self.enter, "ip", *words.split()], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"ip {words}: {done.stderr}"

    def socket(self) -> socket.socket:
        """A TCP socket that lives in it."""
        with HERE.open() as home, Path(f"/proc/{self.pid}/ns/net").open() as there:
            _move(there.fileno())
            try:
                return socket.socket()
            finally:
                _move(home.fileno())

    def close(self) -> None:
        self._keeper.communicate(b"\n")


def _move(namespace: int) -> None:
    """This thread alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")


class Host(Namespace):
    """One of a network. `address` is known within the network alone."""

    def __init__(self, hub: Namespace, number: int) -> None:
        super().__init__()
        self.hub = hub
        self.address = f"198.18.0.{number}"  # of the addresses that are kept for tests of networks
        self._cable = f"cable{number}"
        hub.ip(f"link add {self._cable} type veth peer name eth0 netns {self.pid}")
        hub.ip(f"link set {self._cable} master bridge up")
        self.ip(f"address add {self.address}/24 dev eth0")
        self.ip("link set eth0 up")

    def unplug(self) -> None:
        self.hub.ip(f"link set {self._cable} down")

    def plug_in(self) -> None:
        self.hub.ip(f"link set {self._cable} up")

    def forget(self, other: Host) -> None:
        """Send nothing to that one: it goes nowhere, and nobody is told."""
        self.ip(f"route add blackhole {other.address}/32")

    def remember(self, other: Host) -> None:
        self.ip(f"route del blackhole {other.address}/32")


N = TypeVar("N", bound=Namespace)


class Network:
    """A context manager."""

    def __init__(self, hosts: int) -> None:
        self._all = ExitStack()
        try:
            self.hub = self._add(Namespace())
            self.hub.ip("link add bridge type bridge")
            self.hub.ip("address add 198.18.0.254/24 dev bridge")
            self.hub.ip("link set bridge up")
            self.hosts = [self._add(Host(self.hub, number)) for number in range(1, hosts + 1)]
        except BaseException:
            self.close()
            raise

    def _add(self, made: N) -> N:
        self._all.callback(made.close)
        return made

    def close(self) -> None:
        self._all.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Tunnel(Proxy):
    """A port of the loopback that leads to a port of a host, by way of the hub."""

    def __init__(self, host: Host, port: int) -> None:
        super().__init__(port)
        self.host = host

    async def _open(self) -> tuple[StreamReader, StreamWriter]:
        there = self.host.hub.socket()
        try:
            there.setblocking(False)
            await asyncio.get_running_loop().sock_connect(there, (self.host.address, self.target_port))
        except BaseException:
            there.close()
            raise
        return await asyncio.open_connection(sock=there)
