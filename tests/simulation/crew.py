"""The processes of a simulated world: workers that come and go, and one in which people do as they like."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from backburner.brokers.base import Beat
from backburner.errors import BrokerError
from tests.simulation import tasks
from tests.simulation.process import Process

if TYPE_CHECKING:
    from tests.simulation.store import Store
    from tests.simulation.world import World


class Crew:
    """A worker that has ended is followed by another one after a while."""

    def __init__(self, world: World, store: Store) -> None:
        self.world, self.store = world, store
        self.chance = world.stream("crew")
        self.people = Process(world, store, tasks.app, "people")
        self.workers: list[Process] = []
        self.count = 0
        self.awake_at = 0.0
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []
        self._lives: dict[Process, asyncio.Task[None]] = {}

    def start(self) -> None:
        """One more worker process, once the machines are awake."""
        asleep = self.awake_at - self.world.loop.now
        if asleep > 0:
            self.world.loop.call_later(asleep, self.start, context=self.people.broker.outside)
            return
        self.count += 1
        process = Process(self.world, self.store, tasks.app, f"worker {self.count}")
        self.world.note(f"{process.name} starts")
        self.workers.append(process)
        process.died = partial(self._died, process)
        work = process.work(self.chance.choice((1, 2, 5)), self.chance.choice((0.0, 2.0, 20.0)))
        self._lives[process] = self.world.loop.begin(process, work)
        self._lives[process].add_done_callback(partial(self._ended, process), context=process.broker.outside)

    def _ended(self, process: Process, life: asyncio.Task[None]) -> None:
        if life.exception() is not None:
            self.world.oracle.broke("-", f"a worker failed: {life.exception()!r}")
        self._follow(process)

    def _died(self, process: Process, started: set[str]) -> None:
        if self.world.supervised and process.worker is not None:
            self._tasks.append(
                self.world.loop.begin(self.people, self._hand_back(process.worker.worker.id, started))
            )
        self._follow(process)

    async def _hand_back(self, name: str, started: set[str]) -> None:
        """What a supervisor does for a process that ended; when it fails the lease runs out."""
        broker, settings = self.people.broker, self.people.app.settings
        try:
            await broker.arun(broker.heartbeat([Beat(worker=name, lease=0.0)]))
            await broker.arun(broker.rescue(1000, settings.poison_after, {name: started}))
        except BrokerError as error:
            self.world.note(f"the jobs of {name} wait for its lease to run out: {error}")

    def _follow(self, process: Process) -> None:
        self.workers.remove(process)
        if not self._closing:
            seconds = self.chance.uniform(0.0, 5.0)
            self.world.loop.call_later(seconds, self.start, context=process.broker.outside)

    async def stop(self, bound: float) -> None:
        """All of them, gracefully."""
        self._closing = True
        lives = [self._lives[process] for process in self.workers]
        for process in self.workers:
            process.stop()
        if lives:
            await asyncio.wait(lives, timeout=bound)
        if not all(life.done() for life in lives):
            self.world.oracle.broke("-", "a worker that was told to stop did not")
