"""One simulated world: its clock, its chance, what goes wrong in it, and what was seen.

Each concern draws from a stream of chance of its own, made from the seed.
"""

from __future__ import annotations

import hashlib
import os
import random
import socket
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from random import Random

from backburner import ambient
from tests.oracle import Observation, Ordered
from tests.simulation.loop import VirtualLoop

EPOCH = 1_700_000_000.0
KINDS = (
    "lost request",
    "lost reply",
    "late request",
    "slow network",
    "store away",
    "cut off",
    "crash",
    "freeze",
    "clock ahead or behind",
    "clock jump",
    "missed wake-up",
    "all asleep",
    "graceful stop",
    "crash in a transaction",
)
MAX_ATTEMPTS = 4
MACHINE = f"{socket.gethostname()}-{os.getpid()}-"
"""How the names of workers begin here; the rest of them is drawn."""


class World:
    """`without` names kinds of faults that do not happen."""

    def __init__(self, seed: int, without: Collection[str] = (), keep_trace: bool = False) -> None:
        self.seed = seed
        draw = self.stream("settings")
        self.loop = VirtualLoop(self.stream("scheduler"))
        # Each kind is left out of half of the worlds: some faults hide others.
        self.rates = {kind: draw.random() if draw.random() < 0.5 else 0.0 for kind in KINDS}
        self.rates.update(dict.fromkeys(without, 0.0))
        self.faulty = True
        self.faults: Counter[str] = Counter()
        self.observations: Counter[str] = Counter()
        self.lease = draw.choice((6.0, 12.0, 30.0))
        self.poison_after = draw.choice((2, 3, 3))
        self.keep_finished = draw.choice((600.0, 1e7, 1e7))
        self.pace = draw.choice((5.0, 20.0, 60.0))
        """Seconds between two looks of a duty that finds nothing to do."""
        self.seconds = draw.uniform(20.0, 120.0)
        """How long the faults last."""
        self.oracle = Ordered(max_attempts=MAX_ATTEMPTS, poison_after=self.poison_after)
        self.clock_errors = [0.0]
        self._entropy = self.stream("entropy")
        self._faults = self.stream("faults")
        self._digest = hashlib.blake2b(digest_size=16)
        self.trace: list[str] | None = [] if keep_trace else None

    def stream(self, name: str) -> Random:
        return Random(f"{self.seed}/{name}")

    @property
    def now(self) -> float:
        """The true time."""
        return EPOCH + self.loop.now

    def happens(self, kind: str, most: float) -> bool:
        """Whether this fault happens now; `most` is how often it does where it is at its worst."""
        rate = self.rates[kind]
        if not (self.faulty and rate and self._faults.random() < rate * most):
            return False
        self.faults[kind] += 1
        self.note(f"FAULT {kind}")
        return True

    def span(self, low: float, high: float) -> float:
        return self._faults.uniform(low, high)

    def note(self, text: str) -> None:
        """A line of the trace, which is the same in each run of the seed."""
        line = f"{self.loop.now:.6f} {text}".replace(MACHINE, "")
        self._digest.update(line.encode())
        if self.trace is not None:
            self.trace.append(line)

    def see(self, observation: Observation) -> None:
        self.observations[type(observation).__name__] += 1
        self.oracle.see(observation)
        self.note(str(observation))

    @property
    def hash(self) -> str:
        return self._digest.hexdigest()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The package asks this world for the time and for chance."""
        before = ambient.monotonic, ambient.wall, ambient.entropy, random.getstate()
        ambient.monotonic = lambda: self.loop.now
        ambient.wall = lambda: self.now
        ambient.entropy = self._entropy.randbytes
        random.seed(f"{self.seed}/package")
        try:
            yield
        finally:
            ambient.monotonic, ambient.wall, ambient.entropy = before[:3]
            random.setstate(before[3])
