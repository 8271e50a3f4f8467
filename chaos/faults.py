"""What is broken, when: lanes of faults that go on beside each other, each a sequence that its seed decides.

1. A lane for each node, for the network, for the broker and for memory. In each one fault follows the other,
   with a pause between them; so a broker is killed while a node is frozen and connections are cut.
2. What is done, how long the pause is and how long a fault lasts come from the seed. When exactly it hits
   whom is up to the machine: the seed repeats the plan, and not the moment.
3. On SQLite there is no server to kill: every process is stopped, and when one of them is seen to be inside
   a write transaction, all of them are killed there.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from enum import StrEnum

import msgspec

from backburner import Backburner
from backburner.errors import BrokerError
from chaos.nodes import LONGER_THAN_THE_LEASE, Fleet, Place
from chaos.sites import Site
from tests.servers.proxy import Proxy

TRIES = 200
"""Looks for a moment at which somebody is inside a write transaction."""


PATIENCE = 120.0


class Fault(StrEnum):
    """The value is what a report calls it."""

    CHILD = "worker process killed"
    SUPERVISOR = "supervisor killed"
    FORKS = "fork server killed"
    NODE = "supervisor and its processes killed together"
    MEMORY = "worker process killed for its memory"
    FREEZE = "node frozen past its lease"
    DEPLOY = "node stopped and started"
    PRODUCER = "producer killed"
    BROKER = "broker killed"
    ALL = "all processes killed inside a write transaction"
    CUT = "all connections cut"
    REPLIES = "connections cut between write and reply"
    STALL = "connections half-open"
    STRAND = "connections that never answer again"
    DELAY = "network slow"
    LOCK = "database locked by another program"


KILLS = (Fault.CHILD, Fault.SUPERVISOR, Fault.FORKS, Fault.NODE, Fault.MEMORY)
BROKER_KILLS = (Fault.BROKER, Fault.ALL)


class Step(msgspec.Struct, frozen=True):
    """One fault of a lane."""

    pause: float
    """Seconds before it."""
    fault: Fault
    part: float
    """Of how long it may last, from 0 to 1."""

    def between(self, least: float, most: float) -> float:
        return least + self.part * (most - least)


class Lane(msgspec.Struct, frozen=True):
    """Faults that follow each other, by their weights."""

    name: str
    mix: dict[Fault, int]
    pause: tuple[float, float]

    def steps(self, seed: int) -> Iterator[Step]:
        chance = random.Random(f"{seed} {self.name}")
        while True:
            fault = chance.choices([*self.mix], [*self.mix.values()])[0]
            yield Step(chance.uniform(*self.pause), fault, chance.random())


NODE_FAULTS = {
    Fault.CHILD: 10,
    Fault.SUPERVISOR: 2,
    Fault.FORKS: 1,
    Fault.NODE: 2,
    Fault.FREEZE: 1,
    Fault.DEPLOY: 1,
}
NETWORK_FAULTS = {Fault.CUT: 4, Fault.REPLIES: 4, Fault.STALL: 1, Fault.STRAND: 1, Fault.DELAY: 2}


def lanes(*, server: bool, nodes: int, seconds: float) -> list[Lane]:
    """For a run of that length; in a short one the broker's faults come sooner."""
    scale = min(1.0, seconds / 90.0)
    return [
        *(Lane(f"node {number}", NODE_FAULTS, (0.5, 2.5)) for number in range(nodes)),
        Lane("network", NETWORK_FAULTS if server else {Fault.LOCK: 1}, (3.0, 6.0)),
        Lane("broker", {Fault.BROKER if server else Fault.ALL: 1}, (9.0 * scale, 17.0 * scale)),
        Lane("memory", {Fault.MEMORY: 3, Fault.PRODUCER: 1}, (8.0 * scale, 16.0 * scale)),
    ]


class Faults:
    """Performs steps, and counts what was done."""

    def __init__(self, site: Site, fleet: Fleet, app: Backburner, progress: Callable[[], int]) -> None:
        self._site, self._fleet, self._app, self._progress = site, fleet, app, progress
        self.counts: Counter[Fault] = Counter()
        self.recoveries: list[float] = []
        """Seconds from each restart of the broker until workers got on."""

    def perform(self, step: Step, chance: random.Random, place: Place | None) -> None:
        if self._done(step, chance, place):
            self.counts[step.fault] += 1

    def _done(self, step: Step, chance: random.Random, place: Place | None) -> bool:
        if place is not None:
            return self._hurt(step, chance, place)
        if step.fault in NETWORK_FAULTS:
            return self._disturb(step, chance.choice(self._site.proxies))
        return self._hurt_all(step, chance)

    def _hurt_all(self, step: Step, chance: random.Random) -> bool:
        match step.fault:
            case Fault.BROKER:
                return self._kill_broker(chance, step.between(0.0, 2.0))
            case Fault.ALL:
                return self._kill_all()
            case Fault.MEMORY:
                return self._starve()
            case Fault.PRODUCER:
                return self._fleet.producer.kill()
            case _:
                return self._lock(step.between(0.5, 3.0))

    def _hurt(self, step: Step, chance: random.Random, place: Place) -> bool:
        match step.fault:
            case Fault.CHILD:
                return place.kill_one(chance)
            case Fault.SUPERVISOR:
                return place.kill_supervisor()
            case Fault.FORKS:
                return place.kill_fork_server()
            case Fault.NODE:
                return place.vanish()
            case Fault.FREEZE:
                return place.freeze(step.between(*LONGER_THAN_THE_LEASE))
            case _:
                return place.deploy()

    def _kill_broker(self, chance: random.Random, away: float) -> bool:
        server = chance.choice(self._site.servers)
        server.kill()
        time.sleep(away)
        server.start()
        self._wait_for_progress()
        return True

    def _kill_all(self) -> bool:
        for _ in range(TRIES):
            with self._fleet.frozen():
                if self._is_being_written():
                    self._fleet.kill_all()
                    break
            time.sleep(0.005)
        else:
            return False
        self._wait_for_progress()
        return True

    def _is_being_written(self) -> bool:
        """Whether somebody is inside a write transaction."""
        with closing(sqlite3.connect(self._site.file, timeout=0.0, isolation_level=None)) as lite:
            try:
                lite.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            lite.execute("ROLLBACK")
            return False

    def _wait_for_progress(self) -> None:
        began, before = time.monotonic(), self._progress()
        while self._progress() == before:
            if time.monotonic() - began > PATIENCE:
                raise TimeoutError("workers have done nothing since the broker is back")
            time.sleep(0.02)
        self.recoveries.append(time.monotonic() - began)

    def _starve(self) -> bool:
        try:
            self._app.enqueue("chaos.tasks.greedy")
        except BrokerError:
            return False  # the broker is away: whether it is stored is not known
        return True

    def _lock(self, seconds: float) -> bool:
        with closing(sqlite3.connect(self._site.file, timeout=30.0, isolation_level=None)) as lite:
            lite.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            lite.execute("ROLLBACK")
        return True

    def _disturb(self, step: Step, proxy: Proxy) -> bool:
        match step.fault:
            case Fault.CUT:
                proxy.cut()
            case Fault.REPLIES:
                proxy.cut_replies(1 + int(step.part * 5))
            case Fault.STRAND:
                proxy.strand()
            case Fault.STALL:
                proxy.stall()
                time.sleep(step.between(1.0, 6.0))
                proxy.resume()
            case _:
                proxy.delay(step.between(0.01, 0.2))
                time.sleep(step.between(2.0, 5.0))
                proxy.delay(0.0)
        return True
