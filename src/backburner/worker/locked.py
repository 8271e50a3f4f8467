"""Settlements that another transaction keeps from being written: they come later, and nothing waits for them.

1. Another claim may look at a job for a moment. So such a settlement goes with the next exchange, and then
   again and again, after as long as it has waited so far, a second at most.
2. What takes longer is a transaction that the task completed in and left open. That may last as long as its
   connection does: a warning says so, once.
3. When it ends the broker refuses the settlement, if that was a commit, and else records the failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from backburner import ambient
from backburner.events import Events, LeftOpen
from backburner.worker.reports import Sorted, claim_of

if TYPE_CHECKING:
    from backburner.job import JobRecord
    from backburner.lifecycle import Settlement

LONGEST = 1.0
"""Seconds between two tries, and until the warning."""


class _Wait(msgspec.Struct, eq=False):
    settlement: Settlement
    since: float
    told: bool = False
    timer: asyncio.TimerHandle | None = None
    """Until it is sent again."""


class Locked:
    """Those of one worker; `again` sends one with the next exchange."""

    def __init__(self, events: Events, again: Callable[[Settlement], None]) -> None:
        self._events = events
        self._again = again
        self._waits: dict[tuple[str, int], _Wait] = {}

    @property
    def ids(self) -> set[str]:
        return {job_id for job_id, _ in self._waits}

    def answered(self, answer: Sorted) -> None:
        """What the broker said of an exchange."""
        for each in (*answer.accepted, *answer.refused) if self._waits else ():
            self._waits.pop(claim_of(each.job), None)
        now = ambient.monotonic()
        for each in answer.locked:
            wait = self._waits.setdefault(claim_of(each.job), _Wait(each, now))
            waited = now - wait.since
            if waited >= LONGEST and not wait.told:
                wait.told = True
                self._events.emit(LeftOpen(job=each.job))
            pause = min(waited, LONGEST)
            wait.timer = asyncio.get_running_loop().call_later(pause, self._send, wait)

    def _send(self, wait: _Wait) -> None:
        wait.timer = None
        self._again(wait.settlement)

    def give_up(self) -> list[JobRecord]:
        """Try no more; the jobs whose settlements are not under way just now."""
        jobs = []
        for wait in self._waits.values():
            if wait.timer is not None:
                wait.timer.cancel()
                jobs.append(wait.settlement.job)
        self._waits.clear()
        return jobs
