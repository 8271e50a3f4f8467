"""One run of one seed: a world lives, its faults end, its backlog drains, and the judge speaks."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Collection
from random import Random
from typing import Any

import msgspec

from backburner.errors import BrokerError
from backburner.lifecycle import FINAL
from backburner.worker import loop as worker_loop
from backburner.worker import maintenance
from tests.oracle import Deleted, Effect
from tests.simulation import tasks
from tests.simulation.loop import STRAND
from tests.simulation.people import People
from tests.simulation.process import QUEUES, Process
from tests.simulation.store import PERIODS, Store
from tests.simulation.world import World

BOUND = 3600.0
"""Seconds within which a backlog has to drain once the faults are over."""


class Report(msgspec.Struct, kw_only=True):
    seed: int
    broken: list[str]
    hash: str
    hours: float
    drained: float
    """Seconds from the last fault until the last job was final."""
    jobs: int
    steps: int
    faults: dict[str, int]
    observations: dict[str, int]
    trace: list[str] = []


class Life:
    def __init__(self, world: World) -> None:
        self.world = world
        self.store = Store(world)
        self.chance: Random = world.stream("life")
        self.workers: list[Process] = []
        self.count = 0
        self.people = People(world, Process(world, self.store, tasks.app, "people"))
        self.drained = 0.0
        self._lives: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """One more worker process."""
        self.count += 1
        process = Process(self.world, self.store, tasks.app, f"worker {self.count}")
        self.world.note(f"{process.name} starts")
        self.workers.append(process)
        work = process.work(self.chance.choice((1, 2, 5)), self.chance.choice((0.0, 2.0, 20.0)))
        self._lives.append(self.world.loop.begin(process, work))

    async def live(self) -> None:
        world, loop = self.world, self.world.loop
        for _ in range(self.chance.randint(1, 3)):
            self.start()
        people = [
            loop.begin(self.people.process, self.people.enqueue()),
            loop.begin(self.people.process, self.people.operate()),
        ]
        await self.trouble()
        self.end_of_trouble()
        await asyncio.wait(people)
        for each in people:
            each.result()
        await self.drain()
        for process in self.workers:
            process.stop()
        living = [
            life for process, life in zip(self.workers, self._living(), strict=True) if not process.dead
        ]
        if living:
            await asyncio.wait(living, timeout=BOUND)
        for life in living:
            if not life.done():
                world.oracle.broke("-", "a worker that was told to stop did not")
            elif life.exception() is not None:
                world.oracle.broke("-", f"a worker failed: {life.exception()!r}")

    def _living(self) -> list[asyncio.Task[None]]:
        return self._lives[-len(self.workers) :]

    # What goes wrong ---------------------------------------------------------------------------------

    async def trouble(self) -> None:
        world, chance = self.world, self.chance
        while world.loop.now < world.seconds:
            await asyncio.sleep(chance.expovariate(0.2))
            process = chance.choice(self.workers)
            self._hit(process)
            self._part(process)
            self._confuse(process)
            if world.happens("all asleep", 0.05):
                await self._all_asleep()
            self._replace()

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
            for each in self.workers if self.chance.random() < 0.5 else [process]:
                self._set_clock(each, error)

    def _replace(self) -> None:
        """A worker that ended is followed by another one after a while."""
        for process, life in list(zip(self.workers, self._living(), strict=True)):
            if process.dead or life.done():
                index = self.workers.index(process)
                del self.workers[index]
                del self._lives[len(self._lives) - len(self.workers) - 1 + index]
                if life.done() and life.exception() is not None:
                    self.world.oracle.broke("-", f"a worker failed: {life.exception()!r}")
                self.start()

    def _for(self, seconds: float, thing: Any, fault: str) -> None:
        setattr(thing, fault, True)
        self.world.loop.call_later(seconds, setattr, thing, fault, False)

    def _set_clock(self, process: Process, error: float) -> None:
        self.world.note(f"{process.name}'s clock is off by {error:.1f} s")
        process.broker.clock_error = error
        self.world.clock_errors.append(error)

    async def _all_asleep(self) -> None:
        seconds = (
            self.world.span(1.0, 600.0) if self.chance.random() < 0.5 else self.world.span(600, 40_000.0)
        )
        for process in [*self.workers, self.people.process]:
            process.freeze(seconds)
        self.world.seconds += seconds
        await asyncio.sleep(seconds)

    def end_of_trouble(self) -> None:
        self.world.faulty = False
        self.world.note("the faults are over")
        self.store.away = False
        for process in [*self.workers, self.people.process]:
            process.thaw()
            process.broker.cut_off = False
            process.broker.clock_error = 0.0
        self._replace()

    # Rest --------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        world, broker = self.world, self.people.app.broker
        for queue in QUEUES:
            await broker.arun(broker.set_queue(queue, paused=False))
        for schedule in PERIODS:
            await broker.arun(broker.pause_schedule(schedule, True))
        ended = world.loop.now
        while world.loop.now < ended + BOUND:
            left = self._count("state NOT IN ('succeeded', 'dead', 'cancelled')")
            if left:
                self.drained = world.loop.now - ended
            elif not self.store.late:
                break
            self._replace()
            await asyncio.sleep(1.0)

    def _count(self, which: str) -> int:
        found: int = self.store.rows(f"SELECT count(*) FROM backburner_jobs WHERE {which}")[0][0]
        return found

    def verdict(self) -> list[str]:
        store, oracle = self.store, self.world.oracle
        asked = {job for job, seen in oracle.seen.items() if any(isinstance(each, Deleted) for each in seen)}
        for job, state in store.rows("SELECT job, state FROM gone"):
            if state in FINAL:
                oracle.see(Deleted(job))
            elif job not in asked:
                oracle.broke(job, f"deleted while it was {state}")
        for job, token in store.rows("SELECT job, token FROM effects"):
            oracle.see(Effect(job, token))
        orphans = (
            "SELECT count(*) FROM backburner_attempts WHERE job_id NOT IN (SELECT id FROM backburner_jobs)"
        )
        rest = {
            "running jobs": self._count("state = 'running'"),
            "slots and buffers held": sum(process.held() for process in self.workers),
            "lines of history without a job": store.rows(orphans)[0][0],
        }
        fires: dict[str, list[float]] = {}
        for name, first in store.first_fires.items():
            if name == "all":
                last = store.rows("SELECT next_at FROM backburner_schedules WHERE name = ?", name)[0][0]
                count = round((last - first) / PERIODS[name])
                fires[name] = [first + i * PERIODS[name] for i in range(count)]
        return oracle.verdict(store.jobs(), rest, fires=fires)


def run(seed: int, without: Collection[str] = (), *, trace: bool = False) -> Report:
    """The life of one seed."""
    world = World(seed, without, trace)
    logs = Logs(world)
    pace = maintenance.LONGEST, worker_loop.IDLE_POLL
    maintenance.LONGEST, worker_loop.IDLE_POLL = world.pace, max(world.pace, pace[1])
    collecting = gc.isenabled()
    gc.disable()  # when it collects is no part of the seed
    broken: list[str] = []
    with world.entered(), logs:
        STRAND.set(world.loop.outside)
        life = Life(world)
        try:
            world.loop.run_until_complete(life.live())
            broken = life.verdict()
        except AssertionError as error:
            broken = [f"the world stands still, or goes in circles: {error}"]
        finally:
            maintenance.LONGEST, worker_loop.IDLE_POLL = pace
            world.loop.bury()
            world.loop.close()
            life.store.close()
    jobs = len(world.oracle.seen)
    if collecting:
        gc.enable()
    return Report(
        seed=seed,
        broken=[*broken, *logs.critical],
        hash=world.hash,
        hours=world.loop.now / 3600,
        drained=life.drained,
        jobs=jobs,
        steps=world.loop.steps,
        faults=dict(world.faults),
        observations=dict(world.observations),
        trace=world.trace or [],
    )


class Logs(logging.Handler):
    """What the package logs as critical, and what asyncio could tell nobody, is a broken promise."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.CRITICAL)
        self.critical: list[str] = []
        self._world = world
        self._logger = logging.getLogger("backburner")

    def emit(self, record: logging.LogRecord) -> None:
        self.critical.append(logging.Formatter().format(record))

    def __enter__(self) -> None:
        self._before = self._logger.level, self._logger.propagate
        self._logger.setLevel(logging.CRITICAL)
        self._logger.propagate = False
        self._logger.addHandler(self)
        self._world.loop.set_exception_handler(self._unheard)

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._before[0])
        self._logger.propagate = self._before[1]

    def _unheard(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), BrokerError):  # an answer to one who was killed meanwhile
            self.critical.append(f"unheard: {context}")
