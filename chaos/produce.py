"""One producer: `python -m chaos.produce SEED RATE`, until it is ended.

Several threads enqueue jobs of every kind. What an enqueue returned is accepted. What one raised for is
doubtful: it may have been stored.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

from backburner import Job, Task
from backburner.brokers.base import Capability
from backburner.errors import BrokerError
from chaos.app import (
    DATABASE,
    app,
    complete,
    coroutine,
    doomed,
    flaky,
    function,
    heavy,
    notebook,
    parent,
    sleepy,
)
from tests.oracle import Accepted

THREADS = 3
LOOKUP = Capability.LOOKUP in app.broker.capabilities


def kinds() -> list[tuple[int, Task[..., Any], tuple[Any, ...]]]:
    """A weight, the task and its arguments."""
    found: list[tuple[int, Task[..., Any], tuple[Any, ...]]] = [
        (40, coroutine, (0.002,)),
        (20, function, (0.002,)),
        (2, coroutine, (2.0,)),
        (1, function, (1.0,)),
        (1, heavy, (0.02,)),
        (6, flaky, ()),
        (4, sleepy, ()),
        (4, parent, ()),
        (1, doomed, ()),
    ]
    return [*found, (6, complete, ())] if DATABASE else found


def enqueue(chance: random.Random) -> Sequence[Job[Any]]:
    """One job or several, now or later, at some priority."""
    weights, tasks, arguments = zip(*kinds(), strict=True)
    [at] = chance.choices(range(len(tasks)), weights)
    options: dict[str, Any] = {"priority": chance.choice((0, 0, 0, 60, 5, -10, -100))}
    if chance.random() < 0.2:
        options["delay"] = chance.uniform(0.1, 3.0)
    task = tasks[at].using(**options)
    if chance.random() < 0.2:
        return list(task.enqueue_many([arguments[at]] * chance.choice((2, 10, 50))))
    if LOOKUP and chance.random() < 0.1:
        keyed = task.using(idempotency_key=f"{chance.random()}")
        return [keyed.enqueue(*arguments[at]), keyed.enqueue(*arguments[at])]
    return [task.enqueue(*arguments[at])]


def produce(seed: int, rate: float) -> None:
    """About `rate` jobs a second."""
    chance = random.Random(seed)
    due = time.monotonic()
    while True:
        try:
            jobs = enqueue(chance)
        except BrokerError:
            jobs = ()  # what each of them was is written down, as doubtful
        else:
            notebook.write(*(Accepted(job.id, job.record.task == complete.name) for job in jobs))
        due = max(due + max(len(jobs), 1) / rate, time.monotonic() - 1.0)
        time.sleep(max(due - time.monotonic(), 0.0))


def main(seed: int, rate: float) -> None:
    threads = [
        threading.Thread(target=produce, args=(seed * THREADS + number, rate / THREADS))
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
