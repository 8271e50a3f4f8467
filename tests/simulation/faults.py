"""What goes wrong in a simulated world, until its burst of faults ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.crew import Crew
    from tests.simulation.process import Process
    from tests.simulation.store import Store
    from tests.simulation.world import World


class Faults:
    def __init__(self, world: World, store: Store, crew: Crew) -> None:
        self.world, self.store, self.crew = world, store, crew
        self.chance = world.stream("life")

    async def trouble(self) -> None:
        world, chance = self.world, self.chance
        while world.loop.now < world.until:
            await asyncio.sleep(chance.expovariate(0.25))
            if not self.crew.workers:  # none has followed yet
                continue
            process = chance.choice(self.crew.workers)
            self._hit(process)
            self._part(process)
            self._confuse(process)
            if world.happens("all asleep", 0.05):
                await self._all_asleep()

    def _hit(self, process: Process) -> None:
        world = self.world
        if world.happens("crash", 0.2):
            process.kill()
        elif world.happens("graceful stop", 0.2):
            process.stop()
        elif world.happens("freeze", 0.3):
            leases = world.span(0.9, 1.6) if self.chance.random() < 0.7 else world.span(0.0, 3.0)
            process.freeze(world.lease * leases)

    def _part(self, process: Process) -> None:
        world = self.world
        if world.happens("cut off", 0.2):
            self._for(world.span(0.1, 2.0) * world.lease, process.broker, "cut_off")
        if world.happens("store away", 0.1):
            self._for(world.span(0.5, 2 * world.lease), self.store, "away")

    def _confuse(self, process: Process) -> None:
        world = self.world
        if world.happens("clock ahead or behind", 0.2):
            self._set_clock(process, world.span(-2.0, 2.0))
        if world.happens("clock jump", 0.1):
            error = world.span(-300.0, 300.0)
            for each in self.crew.workers if self.chance.random() < 0.5 else [process]:
                self._set_clock(each, error)

    def _for(self, seconds: float, thing: Any, fault: str) -> None:
        setattr(thing, fault, True)
        self.world.loop.call_later(seconds, setattr, thing, fault, False)

    def _set_clock(self, process: Process, error: float) -> None:
        self.world.note(f"{process.name}'s clock is off by {error:.1f} s")
        process.broker.clock_error = error
        self.world.clock_errors.append(error)

    async def _all_asleep(self) -> None:
        world = self.world
        seconds = world.span(1.0, 600.0) if self.chance.random() < 0.5 else world.span(600, 40_000.0)
        world.until += seconds
        await self.all_asleep(seconds)

    async def all_asleep(self, seconds: float) -> None:
        for process in [*self.crew.workers, self.crew.people]:
            process.freeze(seconds)
        self.crew.awake_at = self.world.loop.now + seconds
        await asyncio.sleep(seconds)

    def end(self) -> None:
        self.world.faulty = False
        self.world.note("the faults are over")
        self.store.away = False
        for process in [*self.crew.workers, self.crew.people]:
            process.thaw()
            process.broker.cut_off = False
            process.broker.clock_error = 0.0
