"""One simulated world: its clock, its chance, what goes wrong in it, and what was seen.

Each concern draws from a stream of chance of its own, made from the seed.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import socket
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from random import Random

from backburner import ambient
from backburner.schedule import Schedule
from tests.oracle import Observation, Ordered
from tests.simulation.loop import VirtualLoop
from tests.simulation.timetable import SCALES, Timetable

EPOCHS = (1_700_000_000.0, 1_711_800_000.0, 1_729_944_000.0)
"""A day like others, and the days before the clocks of Berlin are changed."""
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
BURST = 5.0
"""Seconds that a burst of faults lasts at least."""
MAX_ATTEMPTS = 4
MACHINE = f"{socket.gethostname()}-{os.getpid()}-"
"""How the names of workers begin here; the rest of them is drawn."""


class World:
    """`without` names kinds of faults that do not happen."""

    def __init__(self, seed: int, without: Collection[str] = ()) -> None:
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
        self.keep_finished = draw.choice((600.0, 86_400.0, 1e7))
        self.pace = draw.choice((2.0, 5.0, 20.0))
        """Seconds between two looks of a duty for what is due."""
        self.epoch = draw.choice(EPOCHS)
        self.supervised = draw.random() < 0.5
        """Whether somebody sees at once that a process was killed, and knows what had started there."""
        self.bursts = draw.choice((1, 1, 1, 2))
        self.seconds = max(draw.uniform(15.0, 75.0) / self.bursts, BURST)
        """How long each burst of faults lasts."""
        self.leaps = draw.random() < 0.95
        """Whether stretches in which nothing happens are leapt over; a few worlds live through them."""
        self.scale = draw.choice(SCALES if self.leaps else SCALES[:1])
        self.declared: dict[str, Schedule] = {}
        self.timetable = Timetable(self)
        self.until = 0.0
        """When the burst that goes on ends."""
        self.fires = round(math.exp(draw.uniform(0.0, math.log(16.0 if self.leaps else 4.0))))
        """How often schedules fire in the quiet hours after a burst, more or less."""
        self.oracle = Ordered(max_attempts=MAX_ATTEMPTS, poison_after=self.poison_after)
        self.clock_errors = [0.0]
        self._entropy = self.stream("entropy")
        self._faults = self.stream("faults")
        self.trace: list[str] = []

    def stream(self, name: str) -> Random:
        return Random(f"{self.seed}/{name}")

    @property
    def now(self) -> float:
        """The true time."""
        return self.epoch + self.loop.now

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
        self.trace.append(f"{self.loop.now:.6f} {text}")

    def see(self, observation: Observation) -> None:
        self.observations[type(observation).__name__] += 1
        self.oracle.see(observation)
        self.note(str(observation))

    @property
    def story(self) -> str:
        """All lines of the trace."""
        return "\n".join(self.trace).replace(MACHINE, "")

    @property
    def hash(self) -> str:
        return hashlib.blake2b(self.story.encode(), digest_size=16).hexdigest()

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
