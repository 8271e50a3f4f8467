"""The duties that keep a node's jobs moving. One loop does them for all of its workers.

1. heartbeat  one write for all workers; brings back cancellations and lost leases.
2. stage      moves due jobs to their queues, and sleeps until the next one is due. What is due and cannot be
              moved, as its row is locked, is looked at later and later.
3. tick       enqueues what due periodic tasks say, and sleeps until the next fire.
4. rescue     hands the jobs of dead workers back.
5. prune      deletes what has outlived its retention, and warns before dead letters are trimmed.

Whoever stores something that is due sooner wakes a node. All look again after `LONGEST`, since that node may
end with the news, and after `UNSURE` where a waiter may have missed something.

Every node does all of them: each is safe to repeat, so none needs a leader. A duty that meets an outage is
tried again within a second; the others go on. Rescue alone waits, until a lease after the heartbeats come
through again: leases that ran out during an outage do not tell who is dead.

Where the server keeps leases, due jobs and retention by itself (a broker without `Capability.UPKEEP`) the
tick is the only duty.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from backburner import ambient
from backburner.brokers.base import Beat, Broker, Capability, Directives, Waiter
from backburner.brokers.begun import begun
from backburner.errors import BrokerError
from backburner.events import BrokerDown, BrokerUp, DeadNearLimit, DeadTrimmed, Event
from backburner.periodic import tick

if TYPE_CHECKING:
    from backburner.lifecycle import Settlement
    from backburner.settings import Settings

BATCH = 500
"""Jobs that one duty moves in one operation."""
NEAR = 0.8
"""Of `max_dead`: from here on the dead letters are reported."""
LONGEST = 5.0
"""Seconds between two looks for due jobs and due schedules, at most. With one each second an idle worker ran
twice as many commands.
"""
UNSURE = 1.0
"""Seconds until the next look where it is not sure that one is told of what comes, nor who is dead."""
REST = 0.5
"""Seconds between two ticks, at least, for who is told of many jobs for later: each reads all schedules."""
FIRST, LAST = 0.01, 0.2
"""Seconds between two looks for due jobs of which the earlier one moved none: at first, for a job is due a
little early by another clock than the broker's, and in the end, for what comes due meanwhile waits for it.
"""


class Duty(msgspec.Struct, eq=False):
    """One of the duties, and when it is due on `time.monotonic()`."""

    perform: Callable[[], Awaitable[float]]
    """Does it once, and says in how many seconds again."""
    due: float = 0.0


class Maintenance:
    """Does the duties. The callbacks say which workers live here, and take what the duties find."""

    def __init__(
        self,
        broker: Broker,
        settings: Settings,
        *,
        beats: Callable[[], list[Beat]],
        directed: Callable[[Directives], None],
        rescued: Callable[[list[Settlement]], None],
        emit: Callable[[Event], None],
    ) -> None:
        self._broker = broker
        self._settings = settings
        self._beats = beats
        self._directed = directed
        self._rescued = rescued
        self._emit = emit
        self._beaten = broker.now()
        """When the last heartbeat went through, by the clock that leases are counted with."""
        self.connected = True
        """Until a duty fails, and again from the next time on that the first one goes through."""
        self._upkeep = Capability.UPKEEP in broker.capabilities
        self.heartbeat = Duty(self._heartbeat)
        self.rescue = Duty(self._rescue)
        self._stage = Duty(self._perform_stage)
        self._ticking = Duty(self._tick)
        self._duties = [self._ticking]
        if self._upkeep:
            self._duties = [self.heartbeat, self._stage, self._ticking, self.rescue, Duty(self._prune)]
        self._ticked = 0.0
        """When the last tick began."""
        self._nudged = asyncio.Event()
        self._in_vain = 0.0
        """The last pause after a look that moved nothing of what is due."""

    def nudge(self, *duties: Duty) -> None:
        """Do these duties now, and see which workers live here."""
        for duty in duties:
            duty.due = 0.0
        self._nudged.set()

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            topics = self._topics()
            # Listening all the time: what comes while a duty is done must not wait for the next heartbeat.
            with self._broker.waiter(topics) as waiter:
                while topics == self._topics():
                    self._nudged.clear()
                    for duty in self._duties:
                        if duty.due <= ambient.monotonic():
                            duty.due = math.inf  # a nudge that comes meanwhile asks for one more
                            pause = await self._attempt(duty)
                            duty.due = min(duty.due, ambient.monotonic() + pause)
                    await self._wait(waiter, min(duty.due for duty in self._duties))

    async def _attempt(self, duty: Duty) -> float:
        try:
            pause = await duty.perform()
        except BrokerError as error:
            if self.connected:
                self.connected = False
                self._duties[0].due = 0.0
                self._emit(BrokerDown(error=str(error)))
            return random.uniform(0.5, 1.0)
        if not self.connected and duty is self._duties[0]:
            self.connected = True
            # The other nodes could not beat either: they get the time to, before they are taken for dead.
            self.rescue.due = ambient.monotonic() + self._settings.lease
            self._emit(BrokerUp())
        return pause

    def _topics(self) -> list[str]:
        return ["stage", *(f"worker:{beat.worker}" for beat in self._beats())] if self._upkeep else []

    async def _wait(self, waiter: Waiter, until: float) -> None:
        woken = asyncio.ensure_future(waiter.wait_async(max(until - ambient.monotonic(), 0.0)))
        nudged = asyncio.ensure_future(self._nudged.wait())
        try:
            await asyncio.wait([woken, nudged], return_when=asyncio.FIRST_COMPLETED)
            if woken.done() and woken.result():
                self.nudge(self.heartbeat, self._stage)
                self._ticking.due = min(self._ticking.due, self._ticked + REST)
            elif woken.done() and (now := ambient.monotonic()) < until:
                for duty in (self._stage, self._ticking):
                    duty.due = min(duty.due, now + UNSURE)
        finally:
            woken.cancel()
            nudged.cancel()
            await asyncio.wait([woken, nudged])  # the waiter serves one at a time

    async def _heartbeat(self) -> float:
        self._directed(await self._broker.arun(self._broker.heartbeat(self._beats())))
        now = self._broker.now()
        if self._overslept(now):
            self.rescue.due = ambient.monotonic() + self._settings.lease
        self._beaten = now
        return self._settings.heartbeat * random.uniform(0.8, 1.0)

    def _overslept(self, now: float) -> bool:
        """The machine slept, or its clock was set: leases ran out, and that does not tell who is dead."""
        return now - self._beaten > self._settings.lease / 2

    async def _perform_stage(self) -> float:
        staged = await self._broker.arun(self._broker.stage(BATCH))
        left = LONGEST if staged.next_at is None else staged.next_at - self._broker.now()
        vain = not staged.count and left <= 0
        self._in_vain = min(max(2 * self._in_vain, FIRST), LAST) if vain else 0.0
        return min(max(left, self._in_vain), LONGEST)

    async def _tick(self) -> float:
        self._ticked = ambient.monotonic()
        ticked = await self._broker.arun(tick(self._broker))
        longest = LONGEST if self._upkeep else UNSURE
        if ticked.next_at is None:
            return longest
        return min(max(ticked.next_at - self._broker.now(), 0.0), longest)

    async def _rescue(self) -> float:
        if self._overslept(self._broker.now()):
            self.heartbeat.due = 0.0
            return UNSURE
        if not self.connected:
            return UNSURE
        # Begun here: a lease that runs out while the machine sleeps, and this waits for a thread, is none.
        rescue = begun(self._broker.rescue(BATCH, self._settings.poison_after))
        rescued = await self._broker.arun(rescue)
        self._rescued(rescued)
        return 0.0 if len(rescued) == BATCH else self._settings.heartbeat / 2

    async def _prune(self) -> float:
        pruned = await self._broker.arun(self._broker.prune(BATCH, self._settings.max_dead))
        for queue, count in pruned.trimmed.items():
            self._emit(DeadTrimmed(queue=queue, count=count))
        for queue, count in pruned.dead.items():
            if count >= NEAR * self._settings.max_dead:
                self._emit(DeadNearLimit(queue=queue, count=count, limit=self._settings.max_dead))
        return 0.1 if pruned.deleted == BATCH or pruned.trimmed else 30.0
