"""Settlements that the broker accepted, as events."""

from __future__ import annotations

from backburner.events import (
    Cancelled,
    Died,
    Event,
    Events,
    Failed,
    Released,
    Rescued,
    Snoozed,
    Succeeded,
)
from backburner.lifecycle import ErrorInfo, Settlement

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
