"""The supervisor: starts the worker processes, keeps their leases alive, and runs no user code.

1. Each worker process says `Hello` when its code is loaded. The first one's settings tell the supervisor
   which broker to open. The process is registered under a new id, and told to start.
2. One heartbeat keeps the leases of all of them: user code that holds the interpreter for minutes costs
   none. The other maintenance duties run here, too.
3. When a process ends its lease is ended at once, and its jobs are rescued within milliseconds; one that
   ends unasked is replaced. Only when the whole node is lost do its jobs wait for the lease to run out. A
   broker without `Capability.UPKEEP` has no leases: its server does all that when a connection ends.
4. A process that has outgrown its limits is stopped when its successor works. One whose loop does not
   answer prints its stacks and is killed, and so is one that has not stopped a few seconds after its grace
   time.
5. SIGTERM or SIGINT: nothing more is claimed, running jobs have the grace time, and the exit code is 0. A
   second signal hurries. SIGUSR1 makes the workers quiet, and SIGUSR1 again ends that.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from backburner import brokers
from backburner.brokers.base import Beat, Broker, Capability, Directives
from backburner.errors import BackburnerError, BrokerError, BrokerUnavailable, ConfigError
from backburner.events import BrokerDown, BrokerUp, Event, Events, WorkerDied
from backburner.worker import child, messages
from backburner.worker.child import DRAIN_PULSE, PULSE, log_to_stderr
from backburner.worker.embedded import is_drained, new_worker_id
from backburner.worker.forkserver import ForkServer
from backburner.worker.health import Health, Status
from backburner.worker.maintenance import Maintenance
from backburner.worker.notify import Notify
from backburner.worker.process import WorkerProcess
from backburner.worker.reload import changed
from backburner.worker.reports import settled

if TYPE_CHECKING:
    from backburner.lifecycle import Settlement
    from backburner.settings import Settings
    from backburner.worker.options import WorkerOptions

logger = logging.getLogger("backburner")
DRAIN_CHECK = 0.25
"""Seconds between two looks at what is left to drain; else there is only a look at each pulse."""
RESTART_PAUSES = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Seconds before a process that died before it could start is started again."""


class Supervisor:
    """Runs `options.processes` worker processes of the app at `path`."""

    def __init__(self, path: str, options: WorkerOptions, forks: ForkServer) -> None:
        self.path = path
        self._forks = forks
        self.options = options
        self.events = Events()
        self.events.on(Event, self._relay)
        self._untold: deque[messages.Told] = deque(maxlen=1000)
        self.processes: list[WorkerProcess] = []
        self.settings: Settings | None = None
        self.broker: Broker | None = None
        self.maintenance: Maintenance | None = None
        self._maintaining: asyncio.Task[None] | None = None
        self.exit_code = 0
        self._stopping = False
        self._quiet = False
        self._departing = 0
        """Processes that have ended, and whose jobs are being handed back."""
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failures = 0
        self._idle = list[tuple[bool, int]]()
        """What the processes last said of themselves, and since when they say the same."""
        self._idle_since = 0.0
        self._notify = Notify()

    async def run(self) -> int:
        """Until the workers have stopped; the exit code of the command."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGUSR1, self.toggle_quiet)
        health = await self._serve_health()
        self._begin(self._forks.listen())
        for _ in range(self.options.processes):
            self._begin(self._live())
        self._begin(self._check())
        self._begin(self._notify.watchdog(lambda: True))
        if self.options.reload:
            self._begin(self._reload())
        await self._ended.wait()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if health is not None:
            await health.stop()
        if self.broker is not None:
            self.broker.close()
        return self.exit_code

    def stop(self) -> None:
        """Stop the workers; called again, without waiting for their jobs."""
        grace = 0.0 if self._stopping else self.options.grace
        if not self._stopping:
            logger.info("stopping: running jobs have %g s; a second signal hurries", grace)
        self._stopping = True
        self._notify.stopping()
        for process in self.processes:
            process.stop(grace)
        self._end_if_alone()

    def toggle_quiet(self) -> None:
        """Claim nothing more, or claim again; what runs goes on."""
        self._quiet = not self._quiet
        logger.info("quiet: nothing more is claimed" if self._quiet else "no longer quiet")
        for process in self.processes:
            process.send(messages.Quiet(self._quiet))

    # The life of one process -------------------------------------------------------------------------

    async def _live(self) -> None:
        """Start one worker process, listen to it, and see it end."""
        process = await WorkerProcess.start(self._forks, self.options.slots)
        self.processes.append(process)
        if self._stopping:
            process.stop(0.0)
        try:
            await self._listen(process)
        except (msgspec.DecodeError, ValueError) as error:
            logger.warning("worker %s is replaced, for it talks nonsense: %s", process.worker_id, error)
        finally:
            process.line.hang_up()  # it ends when nobody listens
            code = await process.wait()
            self.processes.remove(process)
            self._departing += 1
            try:
                await self._departed(process, code)
            finally:
                self._departing -= 1
                process.blackbox.close()
            if self._stopping:
                self._end_if_alone()

    async def _listen(self, process: WorkerProcess) -> None:
        async for message in process.line.messages():
            match message:
                case messages.Hello():
                    await self._welcome(process, message)
                case messages.Refused():
                    process.refused = message
                case messages.Pulse():
                    process.pulse, process.silent = message, 0.0
                case messages.Outgrown():
                    logger.info("replacing worker %s: %s", process.worker_id, message.why)
                    process.outgrown = True
                    self._begin(self._live())
                case _:
                    raise AssertionError(message)

    async def _welcome(self, process: WorkerProcess, hello: messages.Hello) -> None:
        if self.broker is None:
            self._open(hello.settings)
        process.hello = hello
        if not await self._register(process):
            return
        process.started = True
        self._listen_for_all()
        process.send(messages.Start(process.worker_id))
        self._tell()
        if self._quiet:
            process.send(messages.Quiet(True))
        for outgrown in [each for each in self.processes if each.outgrown][:1]:
            outgrown.stop(self.options.grace)
            outgrown.outgrown = False
        self._failures = 0
        logger.info("worker %s serves %s", process.worker_id, ", ".join(hello.queues))
        if sum(each.started for each in self.processes) == self.options.processes:
            self._notify.ready()

    async def _departed(self, process: WorkerProcess, code: int) -> None:
        """A process has ended: end its lease, hand back what it had, and replace it if it was not told to."""
        unasked = not process.stopping and not self._stopping
        if process.started:
            jobs = await self._end_lease(process)
            if unasked:
                self.events.emit(WorkerDied(worker=process.worker_id, exit_code=code, jobs=jobs))
        if unasked:
            if not process.started:
                self._failures += 1
                if process.refused:
                    logger.error("error: %s", process.refused.error)
                if self.broker is None and process.refused:
                    self.exit_code = process.refused.exit_code
                    self._stopping = True
                    for other in self.processes:
                        other.stop(0.0)
            if not self._stopping and not process.outgrown:  # or its successor is under way
                pause = (
                    0.0 if process.started else RESTART_PAUSES[min(self._failures, len(RESTART_PAUSES) - 1)]
                )
                self._begin(self._later(pause))

    def _end_if_alone(self) -> None:
        if not self.processes and not self._departing:
            self._ended.set()

    async def _later(self, pause: float) -> None:
        await asyncio.sleep(pause)
        if not self._stopping:
            await self._live()

    async def _end_lease(self, process: WorkerProcess) -> int:
        broker, settings = self.broker, self.settings
        assert broker is not None
        assert settings is not None
        if self._stopping and not self.processes and self._maintaining is not None:
            self._maintaining.cancel()  # or what it began last would be waited for, too
        if Capability.UPKEEP not in broker.capabilities:
            return 0
        try:
            if self._stopping and self.maintenance is not None and not self.maintenance.connected:
                raise BrokerUnavailable
            await self._beat(process, lease=0.0)
            # Of no other: after an outage the leases of others have run out that could not be renewed.
            workers = {process.worker_id: process.blackbox.started()}
            rescued = await broker.arun(broker.rescue(10_000, settings.poison_after, workers))
        except BrokerError:
            logger.warning("the jobs of %s wait for its lease to run out: no broker", process.worker_id)
            return 0
        self._rescued(rescued)
        return len(rescued)

    # Leases and duties -------------------------------------------------------------------------------

    def _open(self, settings: Settings) -> None:
        self.settings = settings
        self.broker = brokers.connect(settings.url, settings.results)
        self.maintenance = Maintenance(
            self.broker,
            settings,
            beats=lambda: [self._sign(each) for each in self.processes if each.started],
            directed=self._directed,
            rescued=self._rescued,
            emit=self.events.emit,
        )
        self._maintaining = asyncio.create_task(self.maintenance.run())
        self._tasks.add(self._maintaining)
        self._maintaining.add_done_callback(self._finished)

    def _sign(self, process: WorkerProcess, *, new: bool = False, lease: float | None = None) -> Beat:
        assert self.settings is not None
        assert process.hello is not None
        return Beat(
            worker=process.worker_id,
            lease=self.settings.lease if lease is None else lease,
            new=new,
            node=f"{socket.gethostname()}-{self.path}",
            host=socket.gethostname(),
            pid=process.pid,
            queues=process.hello.queues,
            tasks=process.hello.tasks,
            running=process.pulse.running if process.pulse else 0,
            concurrency=process.hello.concurrency,
            full=process.pulse.full if process.pulse else (),
            quiet=self._quiet or process.stopping,
        )

    async def _beat(self, process: WorkerProcess, *, new: bool = False, lease: float | None = None) -> None:
        assert self.broker is not None
        if Capability.UPKEEP in self.broker.capabilities:
            await self.broker.arun(self.broker.heartbeat([self._sign(process, new=new, lease=lease)]))

    async def _register(self, process: WorkerProcess) -> bool:
        """Give it a new id and a lease; its work waits for that, however long the broker is away.

        False when the process was told to end meanwhile.
        """
        while True:
            # Another one for each try: a first heartbeat that arrives late would bring a lost lease back.
            process.worker_id = worker_id = new_worker_id(process.pid)
            try:
                await self._beat(process, new=True)
            except BrokerError as error:
                logger.warning("no broker yet: %s", error)
                if process.stopping or process.worker_id != worker_id:
                    return False
                await asyncio.sleep(1.0)
            else:
                return process.worker_id == worker_id

    def _directed(self, directives: Directives) -> None:
        if directives.cancel:
            for process in self.processes:
                process.send(messages.CancelJobs(directives.cancel))
        for process in self.processes:
            if process.worker_id in directives.lost:
                logger.warning("worker %s had lost its lease: it drops what it ran", process.worker_id)
                self._begin(self._renew(process))

    async def _renew(self, process: WorkerProcess) -> None:
        if await self._register(process):
            self._listen_for_all()
            process.send(messages.Lost(process.worker_id))

    def _listen_for_all(self) -> None:
        """A request to stop a job must not wait until the maintenance looks which workers there are."""
        assert self.maintenance is not None
        self.maintenance.nudge()

    def _rescued(self, settlements: list[Settlement]) -> None:
        for each in settlements:
            settled(self.events, each)

    def _relay(self, event: Event) -> None:
        """Handlers are user code: they run in a worker process, in the next one if there is none now."""
        if not isinstance(event, BrokerDown | BrokerUp):  # each process finds that out for itself
            self._untold.append(messages.Told.of(event))
            self._tell()

    def _tell(self) -> None:
        witness = next((each for each in self.processes if each.started and not each.stopping), None)
        while witness is not None and self._untold:
            witness.send(self._untold.popleft())

    # Looking after the processes ---------------------------------------------------------------------

    async def _check(self) -> None:
        pause = DRAIN_CHECK if self.options.drain else PULSE
        while True:
            await asyncio.sleep(pause)
            for process in self.processes:
                if process.pulse and process.silent >= self.options.unresponsive:
                    silent, process.silent = process.silent, 0.0
                    logger.error("worker %s has not answered for %.0f s: replaced", process.worker_id, silent)
                    await process.dump_and_kill()
                process.silent += pause  # pauses, not the time: this process may have been frozen itself
            if self.options.drain and not self._stopping and await self._drained():
                self.stop()

    async def _drained(self) -> bool:
        idle = all(each.started and each.pulse and not each.pulse.running for each in self.processes)
        if not (idle and self.processes and self.broker):
            return False
        if Capability.LOOKUP not in self.broker.capabilities:
            return self._have_long_been_idle()
        hello = self.processes[0].hello
        assert hello is not None
        with suppress(BrokerError):
            return await is_drained(self.broker, hello.queues)
        return False

    def _have_long_been_idle(self) -> bool:
        """A process may just have been given what another's last job enqueued: each has to say twice that it
        found nothing, and that it ran nothing in between.
        """
        idle = [(each.pulse.idle, each.pulse.finished) for each in self.processes if each.pulse]
        now = asyncio.get_running_loop().time()
        if idle != self._idle:
            self._idle, self._idle_since = idle, now
        return all(found_nothing for found_nothing, _ in idle) and now - self._idle_since > 2 * DRAIN_PULSE

    async def _reload(self) -> None:
        while True:
            files = await changed([Path.cwd()])
            logger.info("reloading: %s changed", ", ".join(sorted(path.name for path in files)))
            for process in [each for each in self.processes if not each.stopping]:
                process.stop(self.options.grace)
                if not process.outgrown:
                    self._begin(self._live())

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the supervisor failed, and stops its workers", exc_info=error)
            self.exit_code = 1
            self.stop()

    # What others see ---------------------------------------------------------------------------------

    async def _serve_health(self) -> Health | None:
        if self.options.health is None:
            return None
        host, _, port = self.options.health.rpartition(":")
        health = Health(self.status)
        try:
            bound = await health.start(host or "127.0.0.1", int(port))
        except (OSError, ValueError, OverflowError) as error:
            raise ConfigError(
                f"cannot serve health on {self.options.health!r}: {error}; "
                "give another HOST:PORT, as in 127.0.0.1:8081, or end what listens there"
            ) from error
        logger.info("health on http://%s:%d", host or "127.0.0.1", bound)
        return health

    def status(self) -> Status:
        """What the probes answer."""
        started = [each for each in self.processes if each.started]
        reasons = []
        if len(started) < self.options.processes:
            reasons.append(f"{len(started)} of {self.options.processes} worker processes have started")
        if any(each.pulse and not each.pulse.connected for each in started):
            reasons.append("a worker cannot reach the broker")
        if self.maintenance is not None and not self.maintenance.connected:
            reasons.append("the supervisor cannot reach the broker")
        if self._stopping:
            reasons.append("stopping")
        workers = [
            {
                "id": each.worker_id,
                "pid": each.pid,
                "running": each.pulse.running if each.pulse else 0,
                "finished": each.pulse.finished if each.pulse else 0,
            }
            for each in started
        ]
        return Status(True, not reasons, reasons, {"quiet": self._quiet, "workers": workers})


def main(path: str, options: WorkerOptions) -> int:
    """Run the workers of the app at `module:attribute` until they are told to stop; the exit code."""
    for variable in ("BACKBURNER_URL", "BACKBURNER_RESULTS"):
        brokers.expect(os.environ.get(variable, ""))
    forks = ForkServer.start(partial(child.run, path, options))
    log_to_stderr()
    try:
        with asyncio.Runner() as runner:
            return runner.run(Supervisor(path, options, forks).run())
    except BackburnerError as error:
        logger.error("error: %s", error)  # noqa: TRY400 - one line says it all
        return error.exit_code
    finally:
        forks.close()
