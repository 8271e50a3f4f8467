"""What is done to a run. A fault returns when it has begun, and says what it was; "" if it could not be."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import psutil

from chaos.brokers import Target
from chaos.nodes import Nodes

KILLS = ("a worker process", "a supervisor", "a whole node")
BROKER_KILLS = "the broker"


class Faults:
    """A seeded choice among them. Counts what it did."""

    def __init__(self, target: Target, nodes: Nodes, chance: random.Random, lease: float) -> None:
        self._target, self._nodes, self._chance, self._lease = target, nodes, chance, lease
        self.counts: Counter[str] = Counter()
        self._slow_until = 0.0
        self._weights: list[tuple[int, Callable[[], str]]] = [
            (12, self.kill_worker),
            (3, self.kill_supervisor),
            (2, self.kill_node),
            (1, self.kill_producer),
            (1, self.freeze_worker),
            (1, self.freeze_node),
            (1, self.stop_node),
        ]
        if target.proxies:
            self._weights += [(2, self.cut), (2, self.cut_reply), (1, self.stall), (1, self.slow)]

    def one(self) -> str:
        weights, faults = zip(*self._weights, strict=True)
        [fault] = self._chance.choices(faults, weights)
        return self._count(fault())

    def _count(self, name: str) -> str:
        if name:
            self.counts[name] += 1
        return name

    @property
    def worker_kills(self) -> int:
        return sum(self.counts[name] for name in KILLS)

    @property
    def broker_kills(self) -> int:
        return self.counts[BROKER_KILLS]

    # Processes ---------------------------------------------------------------------------------------

    def kill_worker(self) -> str:
        if (node := self._nodes.awake(self._chance)) is None or not (children := node.children()):
            return ""
        with suppress(psutil.NoSuchProcess):
            self._chance.choice(children).kill()
        return KILLS[0]

    def kill_supervisor(self) -> str:
        if (node := self._nodes.awake(self._chance)) is None:
            return ""
        node.family()
        node.process.kill()
        return KILLS[1]

    def kill_node(self) -> str:
        """All of its processes at once: none sees another one go."""
        if (node := self._nodes.awake(self._chance)) is None:
            return ""
        node.vanish()
        return KILLS[2]

    def kill_producer(self) -> str:
        self._nodes.kill_producer()
        return "a producer"

    def freeze_worker(self) -> str:
        """It stands still for longer than its supervisor waits for an answer, or than nothing."""
        if (node := self._nodes.awake(self._chance)) is None or not (children := node.children()):
            return ""
        with suppress(psutil.NoSuchProcess):
            self._chance.choice(children).suspend()
            self._nodes.frozen[node] = time.monotonic() + self._lease / 2
        return "a worker process frozen"

    def freeze_node(self) -> str:
        """For longer than its lease: its jobs go to others, and then it wakes."""
        if (node := self._nodes.awake(self._chance)) is None or not node.children():
            return ""
        with suppress(psutil.NoSuchProcess):
            node.freeze()
            self._nodes.frozen[node] = time.monotonic() + self._lease + 2
        return "a node frozen beyond its lease"

    def stop_node(self) -> str:
        """As a deploy does."""
        if (node := self._nodes.awake(self._chance)) is None:
            return ""
        node.process.terminate()
        return "a graceful stop"

    # The broker and the way to it --------------------------------------------------------------------

    def kill_broker(self) -> str:
        """A server with SIGKILL; where the broker is a file, everybody who may be writing to it."""
        if self._target.servers:
            server = self._chance.choice(self._target.servers)
            server.kill()
            time.sleep(self._chance.uniform(0.1, 1.5))
            server.start()
        else:
            for node in self._nodes.running:
                if node not in self._nodes.frozen and node.process.poll() is None:
                    node.vanish()
            self._nodes.kill_producer()
        return self._count(BROKER_KILLS)

    def cut(self) -> str:
        self._chance.choice(self._target.proxies).cut()
        return "all connections reset"

    def cut_reply(self) -> str:
        """The server does the work, and its answer does not arrive."""
        self._chance.choice(self._target.proxies).cut_replies(self._chance.choice((1, 2, 3)))
        return "an answer lost"

    def stall(self) -> str:
        """Half-open: nothing flows, and nobody is told."""
        proxy = self._chance.choice(self._target.proxies)
        proxy.stall()
        time.sleep(self._chance.uniform(0.5, 2.0))
        proxy.resume()
        return "a silent network"

    def slow(self) -> str:
        proxy = self._chance.choice(self._target.proxies)
        proxy.delay(0.02)
        time.sleep(2.0)
        proxy.delay(0.0)
        return "20 ms more on the network"
