"""What a run came to, as text and as JSON."""

from __future__ import annotations

import msgspec

from chaos.tasks import HEARTBEAT, LEASE

STORIES = 20
"""Broken promises that are told in full."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One run on one broker. Times in seconds."""

    broker: str
    settings: str
    seed: int
    seconds: float
    faults: dict[str, int]
    worker_kills: int
    broker_kills: int
    accepted: int
    doubtful: int
    """Enqueues that failed, or whose process was killed: whether those jobs exist was not known."""
    rolled_back: int
    fired: int
    """Times at which the periodic task had to fire."""
    attempts: int
    ran_again: int
    """Jobs that began again after a kill or a release, not after a retry or a snooze."""
    dead: int
    poisoned: int
    """Dead since their workers died three times."""
    succeeded: int | None
    """None where the broker cannot look jobs up."""
    longest_recovery: float
    """From a restart of the broker until workers got on."""
    backlog: int
    """Jobs that were left when the faults stopped."""
    drain: float
    nodes_ended: list[str]
    """What nodes said that ended without being told to."""
    broken: list[str]
    """Promises, each with the job's story."""

    @property
    def kept(self) -> bool:
        return not self.broken

    def command(self) -> str:
        minutes = f"{self.seconds / 60:g}"
        return f'make chaos ARGS="--broker {self.broker} --minutes {minutes} --seed {self.seed}"'


def text(outcome: Outcome) -> str:
    """For people."""
    one = outcome
    head = f"{one.broker}: {one.settings}; lease {LEASE:g} s, heartbeat {HEARTBEAT:g} s"
    asked = f"jobs accepted, {one.doubtful:,} doubtful, {one.rolled_back:,} rolled back"
    faults = sorted(one.faults.items(), key=lambda each: -each[1])
    counts = [
        *(f"{count:8,}  {name}" for name, count in faults),
        f"{one.accepted:8,}  {asked}; {one.fired:,} fires of the periodic task",
        f"{one.attempts:8,}  attempts; {one.ran_again:,} jobs ran more than once",
        f"{one.dead:8,}  dead letters, {one.poisoned:,} of them poison pills",
        f"{one.longest_recovery:6g} s  was the longest recovery from a restart of the broker",
        f"{one.drain:6g} s  to drain the {one.backlog:,} jobs left when the faults stopped",
    ]
    ended = [f"  a node ended by itself: {said}" for said in one.nodes_ended]
    owners = (
        "none with two owners" if one.succeeded is not None else "how often a job may run is not promised"
    )
    kept = [f"  No promise was broken: none lost, {owners}."]
    broken = [f"  {len(one.broken)} PROMISES WERE BROKEN:", *one.broken[:STORIES]]
    return "\n".join(
        [
            f"{head}; {one.seconds / 60:g} min, seed {one.seed}",
            f"  {one.worker_kills} worker kills and {one.broker_kills} broker kills",
            *counts,
            *ended,
            *(kept if one.kept else broken),
            f"  {one.command()}",
            "",
        ]
    )
