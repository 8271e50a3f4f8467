"""One simulated process: an embedded worker with all its duties. It is started, stopped, killed, frozen."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from backburner import Backburner
from backburner.errors import BrokerError
from backburner.events import (
    Cancelled,
    Died,
    Events,
    Failed,
    JobEvent,
    Released,
    Rescued,
    Snoozed,
    Started,
    Succeeded,
)
from backburner.lifecycle import State
from backburner.producer import Producer
from backburner.worker.embedded import EmbeddedWorker, embedded
from tests.oracle import Began, Killed, Settled, Struck
from tests.simulation.loop import STRAND, Strand
from tests.simulation.store import SimulatedBroker, Store

if TYPE_CHECKING:
    from backburner.context import CurrentJob
    from tests.simulation.world import World

QUEUES = ("urgent", "default", "slow", "ticks")
DUTIES = ("heartbeat", "stage", "tick", "rescue", "prune")
ENDS: dict[type[JobEvent], State] = {
    Succeeded: State.SUCCEEDED,
    Failed: State.RETRYING,
    Died: State.DEAD,
    Cancelled: State.CANCELLED,
    Snoozed: State.SCHEDULED,
    Released: State.QUEUED,
    Rescued: State.QUEUED,
}


class Process(Strand):
    """What runs in it finds it by `Process.current`."""

    def __init__(self, world: World, store: Store, base: Backburner, name: str) -> None:
        super().__init__(name)
        world.loop.strands.append(self)
        self.world, self.store = world, store
        self.broker = SimulatedBroker(store, self)
        self.app = copy.copy(base)
        self.app.broker = self.broker
        self.app.events = Events()
        self.app.producer = Producer(self.app)
        settings = {"lease": world.lease, "heartbeat": world.lease / 3, "keep_finished": world.keep_finished}
        self.app.declared = world.declared
        self.app.settings = msgspec.structs.replace(
            base.settings, poison_after=world.poison_after, unknown_task_delay=5.0, **settings
        )
        self.app.events.on(Started, self._began)
        for kind in ENDS:
            self.app.events.on(kind, self._settled)
        self.worker: EmbeddedWorker | None = None
        self._stop = asyncio.Event()
        self._thaws_at = 0.0
        self.stopping = False
        self.died: Callable[[set[str]], None] = lambda started: None
        """Told when it is killed, with the jobs that had started there."""

    @staticmethod
    def current() -> Process:
        strand = STRAND.get()
        assert isinstance(strand, Process)
        return strand

    def _began(self, event: Started) -> None:
        job = event.job
        self.world.see(Began(job.id, job.worker or "", job.token, job.attempt))

    def _settled(self, event: JobEvent) -> None:
        job = event.job
        self.world.see(Settled(job.id, job.worker or "", job.token, ENDS[type(event)]))

    async def work(self, concurrency: int, grace: float) -> None:
        """Live until told to stop; what cannot start tries again, as under any service manager."""
        options = {"concurrency": concurrency, "grace": grace, "queues": QUEUES}
        while not self._stop.is_set():
            try:
                async with embedded(self.app, options) as worker:
                    self.worker = worker
                    await self._stop.wait()
            except BrokerError as error:
                self.world.note(f"{self.name} could not start: {error}")
                await asyncio.sleep(1.0)
        self.worker = None

    def stop(self) -> None:
        """Gracefully."""
        self.stopping = True
        self._stop.set()

    def kill(self, by: CurrentJob | None = None) -> None:
        """`by` is the attempt that does it, where one does."""
        if self.dead:  # in the middle of a transaction, a moment ago
            return
        self.world.note(f"{self.name} is killed")
        running = [] if self.worker is None else [run.job for run in self.worker.worker.running.values()]
        if by is not None:
            self.world.see(Killed(by.id, by.token))
            suspects = {job.id for job in running if job.crashes >= max(1, self.world.poison_after - 1)}
            for job in running:
                if job.id != by.id:
                    self.world.see(Struck(job.id, job.token, by.id, {job.id, by.id} <= suspects))
        self.world.loop.kill(self)
        self.died({job.id for job in running})
        for waiter in [each for each in self.store.listening if each.owner is self]:
            self.store.listening.remove(waiter)

    def idle_for(self, seconds: float, look: str) -> None:
        """What so many seconds would have brought, of heartbeats and looks in vain alone.

        At the end of them the duty `look` is about to find something.
        """
        if self.worker is not None:
            duties = self.worker.maintenance
            duties._beaten += seconds
            for name, duty in zip(DUTIES, duties._duties, strict=True):
                duty.due += seconds
                if name == look:
                    duties.nudge(duty)

    def freeze(self, seconds: float) -> None:
        self.world.note(f"{self.name} is frozen for {seconds:.1f} s")
        self.frozen = True
        self._thaws_at = max(self._thaws_at, self.world.loop.now + seconds)
        self.world.loop.call_later(seconds, self._thaw, context=self.broker.outside)

    def _thaw(self) -> None:
        if self.frozen and self.world.loop.now >= self._thaws_at:
            self.thaw()

    def thaw(self) -> None:
        self.world.note(f"{self.name} goes on")
        self.frozen = False

    def held(self) -> int:
        """Slots and buffers that are not free."""
        if self.worker is None:
            return 0
        worker = self.worker.worker
        in_hand = sum(len(waiting) for waiting in worker._in_hand())
        return len(worker.running) + len(worker._buffer) + in_hand + sum(worker._busy.values())
