"""Who enqueues in a simulated world, and who looks after the queues: all drawn from the seed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from backburner.errors import BrokerError
from backburner.periodic import scheduled, stored
from tests.oracle import Accepted, Deleted, Doubtful, Revived, RolledBack
from tests.simulation import tasks
from tests.simulation.process import QUEUES
from tests.simulation.timetable import drawn

if TYPE_CHECKING:
    from backburner import Job
    from backburner.brokers.base import Operation
    from backburner.task import Task
    from tests.simulation.process import Process
    from tests.simulation.tasks import Step
    from tests.simulation.world import World


WISHES = ("cancel", "cancel", "revive", "delete", "pause", "go on", "schedule", "schedule", "unschedule")
NAMES = ("made up", "another")
KINDS = ("work", "work", "work", "urgent", "parent", "effect", "effect", "steps", "killer", "unknown")


class People:
    """`enqueue` and `operate` go on until the faults end."""

    def __init__(self, world: World, process: Process) -> None:
        self.world, self.process, self.app = world, process, process.app
        self.chance = world.stream("people")
        self.known: list[str] = []
        self._keys = 0

    # Callers -----------------------------------------------------------------------------------------

    async def enqueue(self) -> None:
        pause = self.world.seconds / self.chance.randint(5, 30)
        while self.world.loop.now < self.world.until:
            await asyncio.sleep(self.chance.expovariate(1 / pause))
            task, calls = self._drawn()
            if self.chance.random() < 0.15:
                self._in_a_transaction(task, calls)
            else:
                await self._enqueued(task, calls)

    async def _enqueued(self, task: Task[..., Any], calls: list[tuple[Any, ...]]) -> None:
        effect = task.name == "effect"
        records = [task.prepare(call, {}) for call in calls]
        try:
            jobs = await self.app.producer.astore(task, records)
        except BrokerError:
            for record in records:
                self.world.see(Doubtful(record.id, effect))
        else:
            for job in jobs:
                self._accepted(job)

    def _in_a_transaction(self, task: Task[..., Any], calls: list[tuple[Any, ...]]) -> None:
        """On the caller's own connection, and every other time it is rolled back."""
        store = self.process.store
        records = [task.prepare(call, {}) for call in calls]
        stored = []
        try:
            with store.transaction() as connection:
                stored = self.app.producer.store(task.using(connection=connection), records)
                if self.chance.random() < 0.5:
                    raise tasks.Undone
        except tasks.Undone:
            for record in records:
                self.world.see(RolledBack(record.id))
        else:
            for job in stored:
                self._accepted(job)

    def _accepted(self, job: Job[Any]) -> None:
        """It may be another one, which has the idempotency key already."""
        self.world.see(Accepted(job.id, job.record.task == "effect"))
        if job.record.task in self.app.tasks:  # revived it would wait for its code for ever
            self.known.append(job.id)

    def _drawn(self) -> tuple[Task[..., Any], list[tuple[Any, ...]]]:
        chance = self.chance
        kind = chance.choice(KINDS)
        task = self.app.named(kind)
        options: dict[str, Any] = {}
        if chance.random() < 0.2:
            options["delay"] = chance.uniform(0.0, 30.0)
        if chance.random() < 0.1:
            options["expires"] = chance.uniform(1.0, 60.0)
        if chance.random() < 0.3:
            options["priority"] = chance.randint(-2, 2)
        if chance.random() < 0.2:
            options["queue"] = chance.choice(QUEUES)
        if kind == "unknown":
            options["expires"] = chance.uniform(1.0, 60.0)  # or it would wait for its code for ever
        if chance.random() < 0.1:
            options["idempotency_key"] = f"key-{chance.randint(1, 5)}"
        count = chance.randint(2, 8) if chance.random() < 0.3 else 1
        plans = [(self._plan(kind),) for _ in range(count)]
        if kind == "parent":
            return task.using(**options), [(*plan, self._plan("work")) for plan in plans]
        return task.using(**options), list(plans)

    def _plan(self, kind: str) -> list[Step]:
        ends = ["ok", "ok", "ok", "ok", "fail", "fail", "later", "snooze", "dead", "cancel"]
        last = ["ok", "ok", "ok", "ok", "ok", "ok", "fail", "dead", "cancel"]
        if kind == "steps":
            ends += ["kill"]
        if kind == "effect":
            ends += ["undo", "fail after"]
            last += ["undo", "fail after"]
        if kind == "killer":
            hows = ["kill"] * self.chance.randint(1, 2) + [self.chance.choice(("kill", "kill", "ok", "fail"))]
            return [(how, self._seconds()) for how in hows]
        count = self.chance.randint(0, 3)
        hows = [*(self.chance.choice(ends) for _ in range(count)), self.chance.choice(last)]
        return [(how, self._seconds()) for how in hows]

    def _seconds(self) -> float:
        """Mostly short; some are longer than a lease, so that a zombie meets its successor."""
        draw = self.chance.random()
        if draw < 0.2:
            return 0.0
        return self.chance.expovariate(0.5) if draw < 0.8 else self.chance.uniform(5.0, 70.0)

    # Operators ---------------------------------------------------------------------------------------

    async def operate(self) -> None:
        broker, chance, pause = self.app.broker, self.chance, self.world.seconds / 4
        while self.world.loop.now < self.world.until:
            await asyncio.sleep(chance.expovariate(1 / pause))
            some = chance.sample(self.known, min(len(self.known), 3))
            what = chance.choice(WISHES)
            if what == "cancel":
                await self._asked(broker.cancel(some, "a person", self.world.keep_finished), some)
            elif what == "revive":
                for job in await self._asked(broker.revive(some), some):
                    self.world.see(Revived(job))
            elif what == "delete":
                for job in await self._asked(broker.delete(some), some):
                    self.world.see(Deleted(job))
            elif what == "schedule":
                await self._asked(self._schedule(), [])
            elif what == "unschedule":
                await self._asked(broker.delete_schedule(chance.choice((*NAMES, "alone"))), [])
            else:
                queue = chance.choice(QUEUES)
                await self._asked(broker.set_queue(queue, paused=what == "pause"), [])

    def _schedule(self) -> Operation[None]:
        """One more periodic task, or another one under a name that there is."""
        options = drawn(self.chance, self.world.scale)
        schedule = scheduled(tasks.tick, {"name": self.chance.choice(NAMES), **options})
        broker = self.app.broker
        return broker.save_schedule(stored(schedule, broker.now(), declared=False))

    async def _asked(self, operation: Operation[Any], doubtful: list[str]) -> Any:
        """What was done; all of it may have been where no answer came."""
        try:
            return await self.app.broker.arun(operation)
        except BrokerError:
            return doubtful
