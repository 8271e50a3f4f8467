"""A producer: enqueues jobs of every kind until it is told to stop; `python -m chaos.load SEED`.

At first it enqueues one job of each kind. What it asked for was written down before (`Watch`); what returned
is accepted. While there is a file `full` in the folder the workers have enough to do, and it waits.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable, Iterable

from backburner import Backburner, Job, Retry
from backburner.brokers.base import Capability
from backburner.errors import BrokerError
from chaos import tasks
from tests.oracle import Accepted, RolledBack

PAUSE = 0.03
ONCE = Retry(max_attempts=1)


class Load:
    """What is enqueued, by chance; `see` is told what was accepted."""

    def __init__(self, app: Backburner, chance: random.Random) -> None:
        self._app, self._chance = app, chance
        self._kinds: dict[Callable[[], Iterable[Job[object]]], int] = {
            self.single: 30,
            self.bulk: 4,
            self.delayed: 8,
            self.failing: 8,
            self.hopeless: 1,
            self.computing: 3,
            self.following: 4,
        }
        if app.broker.capabilities >= {Capability.UNIQUE}:
            self._kinds[self.keyed] = 8
        if app.broker.capabilities >= {Capability.TRANSACTIONS}:
            self._kinds |= {self.completing: 10, self.in_transaction: 8}

    def one(self) -> None:
        """One enqueue. Raises what the broker or a driver raises: then nobody knows whether it is stored."""
        self._accept(self._chance.choices([*self._kinds], [*self._kinds.values()])[0])

    def first(self) -> None:
        """One of each kind."""
        for kind in self._kinds:
            self._accept(kind)

    def _accept(self, kind: Callable[[], Iterable[Job[object]]]) -> None:
        for job in kind():
            tasks.observer.see(Accepted(job.id, effect=job.record.task == tasks.complete.name))

    def single(self) -> Iterable[Job[object]]:
        task = self._chance.choice([tasks.wait, tasks.work])
        priority = self._chance.choice([0, 0, 0, -10, 10, 60])
        yield task.using(priority=priority).enqueue(self._seconds())

    def bulk(self) -> Iterable[Job[object]]:
        return tasks.wait.enqueue_many([(self._seconds(),) for _ in range(20)])

    def delayed(self) -> Iterable[Job[object]]:
        yield tasks.wait.using(delay=self._chance.uniform(0.1, 3.0)).enqueue(self._seconds())
        yield tasks.later.enqueue()

    def failing(self) -> Iterable[Job[object]]:
        yield tasks.flaky.enqueue()

    def hopeless(self) -> Iterable[Job[object]]:
        yield tasks.broken.using(retry=ONCE).enqueue()

    def computing(self) -> Iterable[Job[object]]:
        yield tasks.compute.enqueue(self._seconds())

    def following(self) -> Iterable[Job[object]]:
        yield tasks.parent.enqueue()

    def keyed(self) -> Iterable[Job[object]]:
        """Of few keys: most of these exist already."""
        yield tasks.wait.using(idempotency_key=f"key {self._chance.randrange(500)}").enqueue(0.01)

    def completing(self) -> Iterable[Job[object]]:
        yield tasks.complete.enqueue()

    def in_transaction(self) -> Iterable[Job[object]]:
        """Committed, or rolled back."""
        with tasks.own_transaction(tasks.URL) as connection:
            job = tasks.wait.using(connection=connection).enqueue(0.01)
            if self._chance.random() < 0.5:
                connection.commit()
                yield job
            else:
                connection.rollback()
                tasks.observer.see(RolledBack(job.id))

    def _seconds(self) -> float:
        return self._chance.choice([0.0, 0.01, 0.01, 0.05, 0.3])


def unsure() -> tuple[type[Exception], ...]:
    """The errors after which nobody knows whether a job is stored: the broker's, and those of the drivers."""
    import sqlite3

    import psycopg

    return BrokerError, sqlite3.Error, psycopg.Error


def idle() -> None:
    """The workers have enough to do."""


def main(seed: str) -> None:
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    load = Load(tasks.app, random.Random(f"{seed} {time.time_ns()}"))
    errors = unsure()
    do: Callable[[], None] = load.first
    while not told:
        try:
            do()
        except errors as error:
            sys.stderr.write(f"{type(error).__name__}: {error}"[:300] + "\n")
        time.sleep(PAUSE)
        do = idle if (tasks.FOLDER / "full").exists() else load.one


if __name__ == "__main__":
    main(sys.argv[1])
