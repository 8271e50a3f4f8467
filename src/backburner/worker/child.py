"""A worker process, from its first line to its last.

1. It loads the app, stores what that declares (and waits for a broker that is away), and says `Hello`; or
   it says why it cannot.
2. At `Start` it claims and runs jobs; the supervisor keeps its lease alive, whatever user code does here.
3. It ends when told to, and when the supervisor is gone: nobody would keep its lease alive then, so what it
   runs is released at once. One that has outgrown its limits says so, and is told to stop when its
   successor works.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from backburner.app import Backburner
from backburner.errors import BackburnerError, BrokerUnavailable, ConfigError
from backburner.loading import load_app
from backburner.worker import messages
from backburner.worker.blackbox import BlackBox
from backburner.worker.embedded import prepare
from backburner.worker.forkserver import name
from backburner.worker.loop import Worker
from backburner.worker.options import WorkerOptions
from backburner.worker.queues import queues_of

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("backburner")
PULSE = 1.0
DRAIN_PULSE = 0.1
"""Seconds between two pulses where the supervisor waits for nothing to be left, perhaps between two fires of
a periodic task.
"""
SWITCH_INTERVAL = 0.0002
"""Seconds after which a thread that wants Python's global lock gets it. The usual 5 ms are more than it takes
to write a batch: the thread that writes waited for most of its time, and a fifth fewer jobs were run.
"""
LIMIT = 16 * 1024 * 1024
"""Bytes of the longest message: a poisoned job's record with its payload."""


async def serve(app: Backburner, options: WorkerOptions, line: messages.Line, blackbox: BlackBox) -> None:
    """Talk to the supervisor, and work in between."""
    worker = Worker(app, "", options, blackbox)
    known = queues_of(app)
    for queue in options.queues.keys() - known.keys():
        advice = "no task of the app belongs to queue %s: is the name right? Its tasks belong to %s"
        logger.warning(advice, queue, ", ".join(known))
    line.send(
        messages.Hello(
            settings=app.settings,
            queues=tuple(options.queues or known),
            tasks=tuple(app.tasks),
            concurrency=worker.concurrency,
        )
    )
    started: list[asyncio.Task[None]] = []
    async for message in line.messages():
        if isinstance(message, messages.Start):
            worker.id = message.worker_id
            started = [asyncio.create_task(worker.run()), asyncio.create_task(beat(worker, options, line))]
            started[0].add_done_callback(lambda _: line.hang_up())
        else:
            obey(app, worker, message)
    if started:
        working, beating = started
        worker.stop(0.0)
        await working
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating


def obey(app: Backburner, worker: Worker, message: messages.Message) -> None:
    """Do what the supervisor says."""
    match message:
        case messages.StopNow():
            worker.stop(message.grace)
        case messages.Quiet():
            worker.quiet = message.quiet
        case messages.CancelJobs():
            worker.cancel(message.reasons)
        case messages.Lost():
            worker.lose(message.worker_id)
        case messages.Told():
            app.events.handle(message.event())
        case _:
            raise AssertionError(message)


async def beat(worker: Worker, options: WorkerOptions, line: messages.Line) -> None:
    """Send a pulse every second or so, and once say when this process should be replaced."""
    outgrown = False
    while True:
        line.send(
            messages.Pulse(worker.under_way, worker.finished, worker.connected, worker.full, worker.idle)
        )
        if not outgrown:
            why = outgrows(options, worker.finished)
            if why is not None:
                outgrown = True
                line.send(messages.Outgrown(why))
        await asyncio.sleep(DRAIN_PULSE if options.drain else PULSE)


def outgrows(options: WorkerOptions, finished: int) -> str | None:
    """Why this process should be replaced, if it should."""
    if options.max_jobs is not None and finished >= options.max_jobs:
        return f"it has run {finished} jobs"
    if options.max_memory is not None:
        megabytes = memory()
        if megabytes > options.max_memory:
            return f"it holds {megabytes:.0f} MB"
    return None


def memory() -> float:
    """Megabytes that this process holds in memory now; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        return 0.0


async def main(path: str, options: WorkerOptions, descriptor: int, memory: int) -> int:
    connection = socket.socket(fileno=descriptor)
    reader, writer = await asyncio.open_connection(sock=connection, limit=LIMIT)
    line = messages.Line(reader, writer)
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        app = await loaded(path)
    except Exception as error:  # noqa: BLE001 - whatever was raised is why it cannot start
        if not isinstance(error, BackburnerError):
            sys.excepthook(type(error), error, error.__traceback__)
            error = ConfigError(f"{path} cannot start: {type(error).__name__}: {error}")
        line.send(messages.Refused(str(error), error.exit_code))
        await line.close()
        return 1
    await serve(app, options, line, BlackBox(memory, options.slots))
    return 0


async def loaded(path: str) -> Backburner:
    """The app, with what it declares stored: that waits for a broker that is away."""
    app = load_app(path)
    log_to_stderr()
    while True:
        try:
            await asyncio.to_thread(prepare, app)
        except BrokerUnavailable as error:
            logger.warning("no broker yet: %s", error)
            await asyncio.sleep(PULSE)
        else:
            return app


def log_to_stderr() -> None:
    """Show the library's log, unless the app has set up logging by itself."""
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(process)d %(message)s")


def runner() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The event loop of uvloop, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def run(path: str, options: WorkerOptions, descriptor: int, memory: int) -> int:
    """Serve the supervisor at the other end of the socket `descriptor`; the exit code."""
    name("backburner:work")
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    # Never closed: that would wait for whatever a job does in `asyncio.to_thread`, and the job was released.
    loop = asyncio.Runner(loop_factory=runner())
    return loop.run(main(path, options, descriptor, memory))
