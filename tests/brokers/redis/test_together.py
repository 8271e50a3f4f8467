"""Enqueues of one process that come at the same time share a script, and each has an answer of its own.

Here event loops have no connections of their own, as before their first enqueue. What coroutines do when they
have: `test_on_loop.py`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from backburner.brokers.base import Bound
from backburner.brokers.redis.broker import RedisBroker
from backburner.brokers.redis.link import Link
from backburner.brokers.redis.on_loop import Line
from backburner.errors import QueueFull
from backburner.job import JobRecord
from tests.brokers.redis.conftest import add, ids, new_job, take

COUNT = 40
BOUNDS = {"small": Bound(queue="small", max_length=1)}


class Gate:
    """Holds back the first script, and counts them all; `there` is a job that was stored before."""

    def __init__(self, there: JobRecord) -> None:
        self.there = there
        self.asked: list[Any] = []
        self.begun = threading.Event()
        self.opened = threading.Event()


@pytest.fixture
def gate(broker: RedisBroker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate, ask = Gate(add(broker, key="k")), Link.ask

    def held(self: Link, *command: Any) -> Any:
        if command[0] == "EVALSHA":
            gate.asked.append(command)
            if not gate.begun.is_set():
                gate.begun.set()
                gate.opened.wait(30)
        return ask(self, *command)

    monkeypatch.setattr(Link, "ask", held)
    monkeypatch.setattr(Line, "ask", lambda *_: None)
    yield gate
    gate.opened.set()


def meanwhile(
    broker: RedisBroker, gate: Gate, several: list[list[JobRecord]], bounds: dict[str, Bound] | None = None
) -> list[Any]:
    """What becomes of these enqueues, which are asked for while another one is under way."""

    async def enqueue() -> list[Any]:
        first = broker.arun(broker.enqueue([new_job()], {}))
        await asyncio.to_thread(gate.begun.wait)
        others = [broker.arun(broker.enqueue(jobs, bounds or {})) for jobs in several]
        gate.opened.set()
        await first
        return await asyncio.gather(*others, return_exceptions=True)

    return asyncio.run(enqueue())


def test_coroutines_at_once_are_two_scripts(broker: RedisBroker, gate: Gate) -> None:
    several = [[new_job(queue=f"q{number % 3}") for _ in range(1 + number % 2)] for number in range(COUNT)]
    stored = meanwhile(broker, gate, several)
    assert len(gate.asked) == 2
    for jobs, found in zip(several, stored, strict=True):
        assert [one is other for one, other in zip(jobs, found, strict=True)] == [True] * len(jobs)
    assert {job.id for jobs in several for job in jobs} < ids(broker)


def test_threads_at_once_are_two_scripts(broker: RedisBroker, gate: Gate) -> None:
    with ThreadPoolExecutor(COUNT) as pool:
        adding = [pool.submit(add, broker)]
        gate.begun.wait(30)
        adding += [pool.submit(add, broker) for _ in range(COUNT - 1)]
        while len(broker._driver._together._line) < COUNT - 1:
            threading.Event().wait(0.001)
        gate.opened.set()
        made = {each.result(30).id for each in adding}
    assert len(gate.asked) == 2
    assert len(made) == COUNT
    assert len(take(broker, 100)) == COUNT + 1


def test_one_that_cannot_be_stored_fails_alone(broker: RedisBroker, gate: Gate) -> None:
    one, bad, other = meanwhile(broker, gate, [[new_job()], [new_job(priority=object())], [new_job()]])
    assert isinstance(bad, TypeError)
    assert isinstance(one, list)
    assert isinstance(other, list)
    assert len(take(broker, 10)) == 4


def test_each_is_told_of_its_own_jobs_that_are_there_already(broker: RedisBroker, gate: Gate) -> None:
    there = gate.there.id
    several = [
        [new_job()],
        [new_job(), new_job(key="k"), new_job()],
        [new_job(key="new")],
        [new_job(key="new"), new_job(id=there)],
    ]
    one, other, first, second = meanwhile(broker, gate, several)
    assert len(gate.asked) == 2
    assert [job.id for job in one] == [several[0][0].id]
    assert [job.id for job in other] == [several[1][0].id, there, several[1][2].id]
    assert [job.id for job in first] == [several[2][0].id]
    assert [job.id for job in second] == [several[2][0].id, there]


def test_a_full_queue_is_an_answer_to_the_one_who_asked(broker: RedisBroker, gate: Gate) -> None:
    full, other = meanwhile(broker, gate, [[new_job(queue="small") for _ in range(2)], [new_job()]], BOUNDS)
    assert isinstance(full, QueueFull)
    assert isinstance(other, list)
