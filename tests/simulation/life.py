"""One run of one seed: a world lives, its faults end, its backlog drains, and the judge speaks."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
from collections.abc import Collection
from typing import Any

import msgspec

from backburner.errors import BrokerError
from backburner.lifecycle import FINAL
from backburner.periodic import scheduled
from backburner.worker import maintenance
from tests.oracle import Deleted, Effect
from tests.simulation import tasks
from tests.simulation.crew import Crew
from tests.simulation.faults import Faults
from tests.simulation.loop import STRAND
from tests.simulation.people import People
from tests.simulation.process import QUEUES
from tests.simulation.store import Store
from tests.simulation.timetable import DAY, declared, instants
from tests.simulation.world import World

BOUND = 1800.0
"""Seconds within which a backlog has to drain once the faults are over."""
LEAST = 0.1
"""Seconds that are worth a leap."""


class Report(msgspec.Struct, kw_only=True):
    seed: int
    broken: list[str]
    hash: str
    hours: float
    leapt: float
    """Of these hours, those that were leapt over since nothing was to happen."""
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
        world.declared = {
            name: scheduled(tasks.tick, {"name": name, **options})
            for name, options in declared(world.scale).items()
        }
        self.crew = Crew(world, self.store)
        self.people = People(world, self.crew.people)
        self.faults = Faults(world, self.store, self.crew)
        self.drained = 0.0
        self.held = 0
        world.loop.leap = self.leap

    async def live(self) -> None:
        world, crew = self.world, self.crew
        for _ in range(world.stream("life").randint(1, 3)):
            crew.start()
        for _ in range(world.bursts):
            await self.burst()
            if not await self.drain():
                return
            await self.quiet_hours()
        await self.rest()
        await crew.stop(BOUND)

    async def burst(self) -> None:
        world = self.world
        world.until = world.loop.now + world.seconds
        world.faulty = True
        people = [
            world.loop.begin(self.crew.people, self.people.enqueue()),
            world.loop.begin(self.crew.people, self.people.operate()),
        ]
        await self.faults.trouble()
        self.faults.end()
        await asyncio.wait(people)
        for each in people:
            each.result()

    async def drain(self) -> bool:
        """Wait until everything has ended; False if it does not."""
        world, broker = self.world, self.people.app.broker
        began = world.loop.now
        while self.store.late:  # a pause may be among what is still on its way
            self.store.changed.clear()
            await self.store.changed.wait()
        for queue in QUEUES:
            await broker.arun(broker.set_queue(queue, paused=False))
        end = world.loop.call_later(BOUND, self.store.changed.set)
        while world.loop.now < began + BOUND and (self._left() or self.store.late):
            self.store.changed.clear()
            await self.store.changed.wait()
        end.cancel()
        self.drained = max(self.drained, world.loop.now - began)
        return not self._left()

    async def quiet_hours(self) -> None:
        """Schedules fire, what has outlived its retention is deleted, and nothing else happens.

        Now and then nobody works for some of these hours, and fires are missed.
        """
        world = self.world
        schedules = [schedule for schedule, _ in world.timetable.stored.values()]
        now = world.now
        day = sum(len(instants(each, now, now + DAY)) for each in schedules)
        hours = world.fires / day * DAY
        await asyncio.sleep(hours)
        if world.stream(f"quiet/{world.loop.now}").random() < 0.3:
            await self.faults.all_asleep(hours / 3)
            await asyncio.sleep(world.lease + 5.0)

    async def rest(self) -> None:
        """The last drain, without the schedules, and nothing on its way."""
        world, broker = self.world, self.people.app.broker
        for name in world.timetable.stand_still():
            world.oracle.broke("-", f"schedule {name} stands still")
        for name in list(world.timetable.stored):
            await broker.arun(broker.pause_schedule(name, True))
        await self.drain()
        await asyncio.sleep(world.lease)  # by then each worker knows whether it has lost its lease
        self.held = sum(process.held() for process in self.crew.workers)
        known = {name for (name,) in self.store.rows("SELECT id FROM backburner_workers")}
        for process in self.crew.workers:
            if process.worker is not None and process.worker.worker.id not in known:
                world.oracle.broke("-", f"{process.name} goes on under a name that nobody knows any more")

    def leap(self, until: float) -> float:
        """For how long from now, until then at most, the duties of all workers would find nothing to do.

        It is as if they had looked all the time: their leases go on.
        """
        world = self.world
        if world.faulty or not world.leaps or any(each.frozen for each in self.crew.workers):
            return 0.0
        workers = [each for each in self.crew.workers if each.worker is not None]
        names = {each.worker.worker.id: each.worker.worker for each in workers if each.worker is not None}
        looks = [worker._exchanges._looks[0] for worker in names.values() if worker._exchanges._looks]
        idle = not all(worker.full for worker in names.values())
        due, duty = self.store.next_due(list(names), idle=idle)
        soon = min(until, *looks, due - world.epoch)
        seconds = soon - world.loop.now
        if seconds < LEAST:
            return 0.0
        seconds = math.floor(seconds * 64) / 64  # sums of these are exact
        self.store.prolong(list(names), seconds)
        for each in workers:
            each.idle_for(seconds, duty if soon == due - world.epoch else "")
        return seconds

    def _left(self) -> int:
        return self._count("state NOT IN ('succeeded', 'dead', 'cancelled')")

    def _count(self, which: str) -> int:
        found: int = self.store.rows(f"SELECT count(*) FROM backburner_jobs WHERE {which}")[0][0]
        return found

    def verdict(self) -> list[str]:
        store, oracle = self.store, self.world.oracle
        asked = {job for job, seen in oracle.seen.items() if any(isinstance(each, Deleted) for each in seen)}
        ahead = max(self.world.clock_errors)
        for job, state, prune_at, at in store.rows("SELECT job, state, prune_at, at FROM gone"):
            if job not in asked and state not in FINAL:
                oracle.broke(job, f"deleted while it was {state}")
            elif job not in asked and (prune_at is None or prune_at > at + ahead):
                oracle.broke(job, f"deleted at {at:.0f}, and it was to be kept until {prune_at}")
            oracle.see(Deleted(job))
        for job, token in store.rows("SELECT job, token FROM effects"):
            oracle.see(Effect(job, token))
        orphans = (
            "SELECT count(*) FROM backburner_attempts WHERE job_id NOT IN (SELECT id FROM backburner_jobs)"
        )
        rest = {
            "running jobs": self._count("state = 'running'"),
            "slots and buffers held": self.held,
            "jobs that have outlived their retention": self._count(f"prune_at < {self.world.now - 120.0}"),
            "lines of history without a job": store.rows(orphans)[0][0],
        }
        return oracle.verdict(store.jobs(), rest, fires=self.world.timetable.expected)


def run(
    seed: int, without: Collection[str] = (), *, trace: bool = False, leaps: bool | None = None
) -> Report:
    """The life of one seed. `leaps` says whether it leaps over what brings nothing, else the seed does."""
    world = World(seed, without)
    world.leaps = world.leaps if leaps is None else leaps
    logs = Logs(world)
    pace, maintenance.LONGEST = maintenance.LONGEST, world.pace
    collecting = gc.isenabled()
    gc.disable()  # when it collects is no part of the seed
    gc.freeze()  # what was there before takes no part in the collection at the end
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
            maintenance.LONGEST = pace
            world.loop.bury()
            world.loop.close()
            life.store.close()
    jobs = len(world.oracle.seen)
    gc.unfreeze()
    if collecting:
        gc.enable()
    return Report(
        seed=seed,
        broken=[*broken, *logs.critical],
        hash=world.hash,
        hours=world.loop.now / 3600,
        leapt=world.loop.leapt / 3600,
        drained=life.drained,
        jobs=jobs,
        steps=world.loop.steps,
        faults=dict(world.faults),
        observations=dict(world.observations),
        trace=world.story.splitlines() if trace else [],
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
