"""The producer of a soak run, a process of its own: mixed load at a steady rate until it is told to end.

1. What is due by the clock is enqueued in steps of `STEP` seconds; the kinds take turns (`MIX`).
2. Some jobs are awaited: the job's own time of its beginning gives the pick-up time, its result's arrival the
   time from end to end. At most `AWAITED` at once, so that a broker in trouble is not made worse.
3. Dead letters are revived every two seconds.
4. What was seen goes into a file, a line for each second; nothing is kept here, since this process is watched
   for growth as well.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from backburner import Job, State, errors
from backburner.brokers.base import Filter
from soak import tasks
from soak.seen import FILE, PATIENCE, Seen
from soak.tasks import app, settings

STEP = 0.1
ARREARS = 1.0
"""Seconds of enqueues that are made up for; a machine that falls further behind is given a lower rate."""
AWAITED = 100
CANCELLED = 30.0
"""Seconds until a cancelled job would have been due: so long RabbitMQ holds its message."""
THREADS = 2
"""Soon all in use, each with its connection: a larger pool grows for minutes, and looks like a leak."""


class Load:
    """The state of the producer: what it has seen in this second, and what it waits for."""

    def __init__(self) -> None:
        self.seen = Seen()
        self.waiting: set[asyncio.Task[None]] = set()
        self.stop = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop.set)
        loop.set_default_executor(ThreadPoolExecutor(THREADS))
        file = Path(settings.folder) / FILE
        began, sent, told, revived = time.monotonic(), 0, 0.0, 0.0
        while not self.stop.is_set():
            now = time.monotonic()
            began = max(began, now - ARREARS - sent / settings.rate)
            for number in range(sent, int((now - began) * settings.rate)):
                await self.guarded(MIX[number % len(MIX)](self, number))
                sent = number + 1
                self.seen.sent += 1
            if now > revived + 2.0:
                revived = now
                await self.guarded(self.revive())
            if now > told + 1.0:
                told = now
                with file.open("ab") as lines:
                    lines.write(msgspec.json.encode(self.seen) + b"\n")
                self.seen = Seen()
            await asyncio.sleep(STEP)
        await asyncio.gather(*self.waiting)

    async def guarded(self, step: Awaitable[object]) -> None:
        try:
            await step
        except errors.BackburnerError as error:
            self.seen.failed += 1
            self.seen.errors.append(f"{type(error).__name__}: {error}")

    async def plain(self, number: int) -> None:
        await tasks.coroutine.aenqueue(number)

    async def threaded(self, number: int) -> None:
        await asyncio.to_thread(tasks.function.enqueue, number)

    async def heavy(self, number: int) -> None:
        await tasks.compute.aenqueue(number)

    async def urgent(self, number: int) -> None:
        await tasks.urgent.using(priority=number % 7 - 3).aenqueue(number)

    async def delayed(self, number: int) -> None:
        await tasks.function.using(delay=0.5 + number % 5).aenqueue(number)

    async def failing(self, number: int) -> None:
        await tasks.flaky.aenqueue(number)

    async def dying(self, number: int) -> None:
        await tasks.mortal.aenqueue(number)

    async def unique(self, number: int) -> None:
        """Twice under one key: the second is the first."""
        for _ in range(2):
            await tasks.coroutine.using(idempotency_key=f"soak-{number}").aenqueue(number)

    async def cancelled(self, number: int) -> None:
        job = await tasks.coroutine.using(delay=CANCELLED).aenqueue(number)
        await job.acancel("the load cancels it")

    async def lasting(self, number: int) -> None:
        """A plain job, or with `--leak keys` one that is kept for a year."""
        kept = tasks.coroutine.using(result_ttl=365 * 86400.0) if "keys" in settings.leak else tasks.coroutine
        await kept.aenqueue(number)

    async def awaited(self, number: int) -> None:
        if len(self.waiting) < AWAITED:
            task = tasks.coroutine if number % 2 else tasks.function
            began = time.time()
            waiting = asyncio.create_task(self.guarded(self.outcome(await task.aenqueue(number), began)))
            self.waiting.add(waiting)
            waiting.add_done_callback(self.waiting.discard)

    async def outcome(self, job: Job[float], began: float) -> None:
        ran = await job.aresult(PATIENCE)
        self.seen.pick_ups.append(ran - began)
        self.seen.ends.append(time.time() - began)

    async def revive(self) -> None:
        dead = await asyncio.to_thread(app.inspector.ids, Filter(states=(State.DEAD,)))
        self.seen.revived += len(await asyncio.to_thread(app.inspector.retry, dead))


MIX: tuple[Callable[[Load, int], Awaitable[None]], ...] = (
    *(Load.plain, Load.awaited, Load.threaded, Load.urgent, Load.delayed, Load.awaited, Load.lasting),
    *(Load.failing, Load.plain, Load.awaited, Load.heavy, Load.threaded, Load.urgent, Load.awaited),
    *(Load.cancelled, Load.dying, Load.plain, Load.awaited, Load.unique),
)

if __name__ == "__main__":
    asyncio.run(Load().run())
