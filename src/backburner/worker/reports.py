"""What became of settlements, as events.

1. The broker names the jobs whose settlements it refused; which of them that means is decided here.
2. One that it accepted is told by its verb, and one that it refused as a lost lease.
3. But a job that completed in a transaction of its own was settled as failed: that is refused after a commit,
   too. So the job is looked at, where anybody listens, and reported as the success that it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from backburner.events import (
    Cancelled,
    Died,
    Event,
    Events,
    Failed,
    LostLease,
    Released,
    Rescued,
    Snoozed,
    Succeeded,
)
from backburner.lifecycle import SUCCEEDED, ErrorInfo, Settlement

if TYPE_CHECKING:
    from backburner.brokers.base import Exchange
    from backburner.job import JobRecord
    from backburner.worker.exchanges import Exchanges

_KINDS: dict[str, type[Event]] = {
    "succeed": Succeeded,
    "retry": Failed,
    "die": Died,
    "poison": Died,
    "cancel": Cancelled,
    "snooze": Snoozed,
    "release": Released,
    "crash": Rescued,
}


def claim_of(job: JobRecord) -> tuple[str, int]:
    return job.id, job.token


class Sorted(NamedTuple):
    """The settlements of an exchange, by what the broker said of them."""

    accepted: Sequence[Settlement]
    refused: Sequence[Settlement] = ()
    locked: Sequence[Settlement] = ()


def sorted_out(settlements: Sequence[Settlement], exchange: Exchange) -> Sorted:
    """Of two claims of one job the later one holds."""
    if not (exchange.lost or exchange.locked):
        return Sorted(settlements)
    lost = Counter(exchange.lost)
    accepted, refused, locked = [], [], []
    for each in sorted(settlements, key=lambda each: each.job.token):
        if lost[each.job.id] > 0:
            lost[each.job.id] -= 1
            refused.append(each)
        elif each.job.id in exchange.locked:
            locked.append(each)
        else:
            accepted.append(each)
    return Sorted(accepted, refused, locked)


class Reports:
    """The reports of one worker."""

    def __init__(self, events: Events, exchanges: Exchanges) -> None:
        self._events = events
        self._exchanges = exchanges
        self.completions: dict[tuple[str, int], Settlement] = {}
        """By claim, of the jobs that completed in a transaction of their own."""

    async def send(self, answer: Sorted) -> None:
        events = self._events
        committed = await self._committed(answer) if self.completions else {}
        for each in answer.refused:
            completion = committed.get(claim_of(each.job))
            if completion is None:
                events.emit(LostLease(job=each.job))
            else:
                settled(events, completion)
        quick = not events.wanted(Succeeded)
        for each in answer.accepted:
            if not (quick and each.state is SUCCEEDED):
                settled(events, each)

    async def _committed(self, answer: Sorted) -> dict[tuple[str, int], Settlement]:
        """Of the refused ones those to report as successes: the lease may have been lost as well."""
        for each in answer.accepted:
            self.completions.pop(claim_of(each.job), None)
        ended = [self.completions.pop(claim_of(each.job), None) for each in answer.refused]
        asked = [each for each in ended if each is not None]
        if not asked or not (self._events.wanted(Succeeded) or self._events.wanted(LostLease)):
            return {}
        return {claim_of(each.job): each for each in await self._exchanges.committed(asked)}


def settled(events: Events, each: Settlement) -> None:
    """Send the event of one accepted settlement, if anybody wants it."""
    if not events.wanted(_KINDS[each.verb]):
        return
    log, job = each.log, each.job
    error = ErrorInfo(log.error, log.message or "", log.traceback) if log else ErrorInfo(None, "")
    match each.verb:
        case "succeed":
            events.emit(Succeeded(job=job, seconds=each.now - (job.started_at or each.now)))
        case "retry":
            events.emit(Failed(job=job, error=error, delay=each.run_at - each.now))
        case "die" | "poison":
            events.emit(Died(job=job, error=error, reason=each.reason or ""))
        case "cancel":
            events.emit(Cancelled(job=job, reason=each.reason or ""))
        case "snooze":
            events.emit(Snoozed(job=job, delay=each.run_at - each.now, reason=each.reason))
        case "release":
            events.emit(Released(job=job))
        case "crash":
            events.emit(Rescued(job=job))
