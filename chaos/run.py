"""A run: load on a broker, one fault after another, then calm, and the verdict.

1. A broker behind a proxy, two nodes with two worker processes each, and a producer. What ends is started
   again, as a service manager does it.
2. The nodes' lease is short, so that a lost machine is seen within the run.
3. For as long as was asked: a fault every two seconds or so, and the broker killed in even distances. All of
   it is drawn from the seed. What the machine's scheduler does is not, so a seed repeats the faults and not
   what they meet.
4. Then nothing is broken any more, and nothing is enqueued. The backlog has to drain within a bound.
5. `tests/oracle.py` judges what the processes wrote down (`seen.py`) and what is stored.
"""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec

from backburner import Backburner
from backburner.brokers.base import Capability, Filter
from backburner.job import JobRecord
from backburner.lifecycle import FINAL, State
from chaos import seen
from chaos.brokers import Target, target
from chaos.faults import Faults
from chaos.nodes import Nodes
from tests.oracle import Accepted, Began, Doubtful, Effect, Fired, Oracle, Settled

LEASE = 6.0
NODES = 2
BOUND = 120.0
"""Seconds in which the backlog has to drain."""
START_TIME = 60.0
MAX_ATTEMPTS = 5
PERIODIC = "chaos.app.periodic"
QUEUES = ("default",)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is done to one broker."""

    broker: str
    seconds: float
    seed: int
    rate: float = 100.0
    """Jobs enqueued a second."""
    broker_kills: int = 24
    """In ten minutes."""
    pace: float = 1.7
    """Seconds between two faults, on average."""


class Report(msgspec.Struct, kw_only=True):
    """What came of it."""

    plan: Plan
    faults: dict[str, int]
    worker_kills: int
    broker_kills: int
    accepted: int
    doubtful: int
    attempts: int
    again: int
    """Jobs that were begun under more than one claim, for whatever reason."""
    states: dict[str, int]
    """Of what is stored, or the ends that were seen where the broker keeps none."""
    backlog: int
    """When the faults ended."""
    drained: float | None
    """Seconds from there until nothing was left; None: not within the bound."""
    broken: list[str]
    """Promises that did not hold, each with its job's story."""


def perform(plan: Plan, folder: Path, tell: Callable[[str], None]) -> Report:
    """Raises `TimeoutError` when the workers do not start at all."""
    chance = random.Random(plan.seed)
    with ExitStack() as stack:
        found = stack.enter_context(target(plan.broker, folder))
        app = Backburner(found.url, **_settings(found))
        stack.callback(app.close)
        if found.database:
            _make_effects(found.database)
        nodes = Nodes(folder, NODES, _environment(found, folder), plan.seed, plan.rate)
        stack.callback(nodes.end)
        faults = Faults(found, nodes, chance, LEASE)
        _start(nodes, found)
        _break(plan, nodes, faults, chance, lambda: _backlog(app, found), tell)
        nodes.calm()
        nodes.stop_producing()
        backlog, drained = _drain(nodes, lambda: _backlog(app, found), tell)
        codes = nodes.stop()
        broken = [f"a node that was stopped ended with {code}" for code in codes if code]
        return _judge(plan, faults, app, found, folder, backlog, drained, broken)


def _settings(found: Target) -> dict[str, Any]:
    settings: dict[str, Any] = {"lease": LEASE, "heartbeat": LEASE / 4}
    return {**settings, "results": found.results} if found.results else settings


def _environment(found: Target, folder: Path) -> Mapping[str, str]:
    return {
        "CHAOS_FOLDER": str(folder),
        "CHAOS_URL": found.url,
        "CHAOS_DATABASE": found.database,
        "CHAOS_SETTINGS": json.dumps(_settings(found)),
    }


def _make_effects(database: str) -> None:
    statement = "CREATE TABLE effects (job TEXT NOT NULL, token INTEGER NOT NULL)"
    if database.startswith("sqlite"):
        with closing(sqlite3.connect(database.removeprefix("sqlite:///"))) as file, file:
            file.execute(statement)
    else:
        import psycopg

        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(statement)


def _effects(database: str) -> list[Effect]:
    query = "SELECT job, token FROM effects"
    if not database:
        return []
    if database.startswith("sqlite"):
        with closing(sqlite3.connect(database.removeprefix("sqlite:///"))) as file:
            return [Effect(*row) for row in file.execute(query)]
    import psycopg

    with psycopg.connect(database, autocommit=True) as connection:
        return [Effect(*row) for row in connection.execute(query)]


def _start(nodes: Nodes, found: Target) -> None:
    nodes.keep()
    end = time.monotonic() + START_TIME
    while not all(node.said().count(" serves ") >= 2 for node in nodes.running):
        if time.monotonic() > end:
            raise TimeoutError(f"the workers do not start:\n{nodes.logs()}")
        nodes.keep()
        time.sleep(0.1)
    time.sleep(1.0)  # the producer has enqueued to every queue
    found.settle()


def _break(
    plan: Plan,
    nodes: Nodes,
    faults: Faults,
    chance: random.Random,
    backlog: Callable[[], str],
    tell: Callable[[str], None],
) -> None:
    began = time.monotonic()
    count = max(1, round(plan.broker_kills * plan.seconds / 600))
    due = [began + plan.seconds * (number + 0.5) / count for number in range(count)]
    while (now := time.monotonic()) < began + plan.seconds:
        last = ""
        if due and now >= due[0]:
            due.pop(0)
            last = faults.kill_broker()
        else:
            last = faults.one()
        time.sleep(chance.uniform(0.2, 2 * plan.pace - 0.2))
        nodes.keep()
        tell(
            f"{now - began:.0f} of {plan.seconds:.0f} s, {faults.worker_kills} kills of workers, "
            f"{faults.broker_kills} of the broker, backlog {backlog()}: {last}"
        )


def _backlog(app: Backburner, found: Target) -> str:
    """As a number; "?" when the broker does not say."""
    try:
        if found.messages is not None:
            return str(sum(found.messages().values()))
        queues = app.broker.run(app.broker.queues())
        left = sum(count for queue in queues for state, count in queue.counts.items() if state not in FINAL)
        return str(left)
    except Exception as error:  # noqa: BLE001 - it is away just now, in one of many ways
        return f"? ({type(error).__name__})"


def _left(app: Backburner, found: Target) -> dict[str, int]:
    """What is there, by its queue or its state."""
    if found.messages is not None:
        return {f"left in {name}": count for name, count in found.messages().items()}
    queues = app.broker.run(app.broker.queues())
    counts = sum((Counter(queue.counts) for queue in queues), Counter[str]())
    return {f"{state} jobs": count for state, count in counts.items() if state not in FINAL}


def _drain(nodes: Nodes, backlog: Callable[[], str], tell: Callable[[str], None]) -> tuple[int, float | None]:
    """The backlog at first, and how long it took to be gone."""
    began, first = time.monotonic(), -1
    while time.monotonic() < began + BOUND:
        nodes.keep()
        left = backlog()
        if first < 0 and left.isdigit():
            first = int(left)
        tell(f"calm for {time.monotonic() - began:.0f} s: {left} left")
        if left == "0":
            return first, round(time.monotonic() - began, 1)
        time.sleep(0.2)
    return first, None


def _judge(
    plan: Plan,
    faults: Faults,
    app: Backburner,
    found: Target,
    folder: Path,
    backlog: int,
    drained: float | None,
    broken: list[str],
) -> Report:
    oracle = Oracle(max_attempts=MAX_ATTEMPTS, poison_after=app.settings.poison_after)
    counts: Counter[str] = Counter()
    claims: dict[str, set[int]] = {}
    for line in seen.read(folder):
        oracle.see(line.seen)
        counts[type(line.seen).__name__] += 1
        if isinstance(line.seen, Began):
            claims.setdefault(line.seen.job, set()).add(line.seen.token)
        if isinstance(line.seen, Settled):
            counts[f"state {line.seen.state}"] += 1
    rest = _left(app, found) if drained is None else {}
    if Capability.LOOKUP in app.broker.capabilities:
        stored = {job.id: job for job in _find(app)}
        for job in stored.values():
            if job.task == PERIODIC:
                oracle.see(Fired(job.id, PERIODIC, job.run_at))
        for effect in _effects(found.database):
            oracle.see(effect)
        states = dict(Counter(str(job.state) for job in stored.values()))
        broken += oracle.verdict(stored, rest)
    else:
        dead = [job.id for queue in QUEUES for job in _find(app, states=(State.DEAD,), queue=queue)]
        states = {name.removeprefix("state "): n for name, n in counts.items() if name.startswith("state ")}
        broken += oracle.verdict(None, rest, dead=dead)
    return Report(
        plan=plan,
        faults=dict(faults.counts.most_common()),
        worker_kills=faults.worker_kills,
        broker_kills=faults.broker_kills,
        accepted=counts[Accepted.__name__],
        doubtful=counts[Doubtful.__name__] - counts[Accepted.__name__],
        attempts=counts[Began.__name__],
        again=sum(len(tokens) > 1 for tokens in claims.values()),
        states=states,
        backlog=backlog,
        drained=drained,
        broken=broken,
    )


def _find(app: Backburner, **wanted: Any) -> list[JobRecord]:
    return app.broker.run(app.broker.find(Filter(**wanted, limit=10_000_000)))
