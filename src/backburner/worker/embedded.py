"""A worker inside the event loop of another program, as in `async with app.worker():`."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from backburner import ambient
from backburner.brokers.base import Beat, Broker, Capability, Directives
from backburner.errors import BrokerError, ConfigError
from backburner.periodic import stored
from backburner.worker.loop import Worker
from backburner.worker.maintenance import Maintenance
from backburner.worker.options import WorkerOptions
from backburner.worker.reports import settled

if TYPE_CHECKING:
    from backburner.app import Backburner
    from backburner.lifecycle import Settlement

logger = logging.getLogger("backburner")
SUPERVISORS = {"processes", "drain", "max_jobs", "max_memory", "unresponsive", "health", "reload"}
"""Options that only a supervisor can do."""


def new_worker_id(pid: int) -> str:
    """Says where it runs, and is never used twice."""
    return f"{socket.gethostname()}-{pid}-{ambient.entropy(3).hex()}"


def prepare(app: Backburner) -> None:
    """Check every task's annotations and store what is declared. Raises `ConfigError`, `BrokerError`."""
    for task in app.tasks.values():
        if task.signature is not None:
            task.signature.check()
    app.broker.run(app.broker.held(""))  # a broker that no retry can mend is told of now, declarations or not
    for schedule in app.declared.values():
        now = app.broker.now()
        app.broker.run(app.broker.save_schedule(stored(schedule, now, declared=True)))
    for bound in app.bounds.values():
        app.broker.run(app.broker.set_queue(bound.queue, bound=bound))


class EmbeddedWorker:
    """The worker and its maintenance."""

    def __init__(self, app: Backburner, options: WorkerOptions) -> None:
        self._app = app
        self.worker = Worker(app, new_worker_id(os.getpid()), options)
        self.maintenance = Maintenance(
            app.broker,
            app.settings,
            beats=lambda: [self._beat()],
            directed=self._directed,
            rescued=self._rescued,
            emit=app.events.emit,
        )
        self._upkeep = Capability.UPKEEP in app.broker.capabilities
        self._renewal: asyncio.Future[None] | None = None

    async def drained(self) -> None:
        """Return when nothing is left to run in the worker's queues: see `WorkerOptions.drain`."""
        while True:
            with self._app.broker.waiter([]) as waiter:
                if await self._is_drained():
                    return
                await waiter.wait_async(0.05)

    async def _is_drained(self) -> bool:
        if Capability.LOOKUP not in self._app.broker.capabilities:
            return self.worker.idle
        return not self.worker.running and await is_drained(self._app.broker, self.worker.queues)

    async def begin(self) -> None:
        await asyncio.to_thread(prepare, self._app)
        if self._upkeep:
            await self._app.broker.arun(self._app.broker.heartbeat([self._beat(new=True)]))

    async def end(self) -> None:
        broker = self._app.broker
        if self._renewal is not None:
            self._renewal.cancel()
        if not self._upkeep:
            return
        try:
            await broker.arun(broker.heartbeat([self._beat(lease=0.0)]))
            workers = {self.worker.id: None}
            self._rescued(await broker.arun(broker.rescue(1000, self._app.settings.poison_after, workers)))
        except BrokerError as error:
            logger.warning("the jobs of %s wait for its lease to run out: %s", self.worker.id, error)

    def _beat(self, name: str | None = None, *, new: bool = False, lease: float | None = None) -> Beat:
        worker = self.worker
        return Beat(
            worker=name or worker.id,
            lease=self._app.settings.lease if lease is None else lease,
            new=new,
            node="embedded",
            host=socket.gethostname(),
            pid=os.getpid(),
            queues=tuple(worker.queues),
            tasks=tuple(self._app.tasks),
            running=worker.under_way,
            concurrency=worker.concurrency,
            full=worker.full,
            quiet=worker.quiet,
        )

    def _directed(self, directives: Directives) -> None:
        if directives.cancel:
            self.worker.cancel(directives.cancel)
        if self.worker.id in directives.lost and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.ensure_future(self._renew())

    async def _renew(self) -> None:
        """Take a new name. The broker knows it before the worker uses it: no other is given jobs."""
        while True:
            # Another one for each try: a first heartbeat that arrives late would bring a lost lease back.
            name = new_worker_id(os.getpid())
            try:
                await self._app.broker.arun(self._app.broker.heartbeat([self._beat(name, new=True)]))
            except BrokerError as error:
                logger.warning("no broker yet: %s", error)
                await asyncio.sleep(1.0)
            else:
                self.worker.lose(name)
                self.maintenance.nudge()
                return

    def _rescued(self, settlements: list[Settlement]) -> None:
        for each in settlements:
            settled(self._app.events, each)


async def is_drained(broker: Broker, queues: Iterable[str]) -> bool:
    """Whether no job of these queues is queued, due later, or running."""
    found = await broker.arun(broker.queues())
    left = ("queued", "scheduled", "retrying", "running")
    return not any(info.counts.get(state) for info in found if info.name in queues for state in left)


def _report(working: asyncio.Future[None]) -> None:
    """The program around goes on when the loop fails; it must not look as if jobs were only slow."""
    if not working.cancelled() and (error := working.exception()) is not None:
        logger.critical("the embedded worker has failed: no more jobs run here", exc_info=error)


@asynccontextmanager
async def embedded(app: Backburner, options: dict[str, Any]) -> AsyncIterator[EmbeddedWorker]:
    """Run a worker until the context ends, then stop it within its grace time."""
    foreign = sorted(options.keys() & SUPERVISORS)
    if foreign:
        raise ConfigError(
            f"an embedded worker has no {', '.join(foreign)}: it is one process, your own; "
            "`backburner worker` has them"
        )
    given = WorkerOptions.build(options)
    worker = EmbeddedWorker(app, given)
    await worker.begin()
    working = asyncio.ensure_future(worker.worker.run())
    working.add_done_callback(_report)
    maintaining = asyncio.ensure_future(worker.maintenance.run())
    working.add_done_callback(lambda _: maintaining.cancel())  # or it would keep a dead worker's lease
    try:
        yield worker
    finally:
        worker.worker.stop(given.grace)
        try:
            await working
        finally:
            maintaining.cancel()
            await asyncio.wait([maintaining])
            await worker.end()
