"""Enqueues of one process that come at the same time share a statement, and each has an answer of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from backburner.brokers.base import Bound
from backburner.brokers.postgres.broker import PostgresBroker
from backburner.brokers.postgres.session import Session
from backburner.errors import BrokerError, QueueFull
from tests.brokers.postgres.conftest import add, ids, new_job, schema_of, sql, take

COUNT = 40
BOUND = Bound(queue="small", max_length=1)


class Gate:
    """Holds back the first statement that stores fresh jobs, and counts them all."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.begun = threading.Event()
        self.opened = threading.Event()


@pytest.fixture
def gate(broker: PostgresBroker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate, ask = Gate(), Session.ask
    add(broker)

    def held(self: Session, statement: bytes, *rest: object) -> list[tuple[object, ...]]:
        gate.asked.append(statement)
        if not gate.begun.is_set():
            gate.begun.set()
            gate.opened.wait(30)
        return ask(self, statement, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "ask", held)
    yield gate
    gate.opened.set()


def test_coroutines_at_once_are_two_statements(broker: PostgresBroker, gate: Gate) -> None:
    async def enqueue() -> list[str]:
        first = broker.arun(broker.enqueue([new_job()], {}))
        await asyncio.to_thread(gate.begun.wait)
        jobs = [new_job(queue=f"q{number % 3}") for number in range(COUNT)]
        others = [broker.arun(broker.enqueue([job], {})) for job in jobs]
        gate.opened.set()
        await first
        stored = [(await each)[0] for each in others]
        assert [found is job for found, job in zip(stored, jobs, strict=True)] == [True] * COUNT
        return [job.id for job in stored]

    made = asyncio.run(enqueue())
    assert len(gate.asked) == 2
    assert {*made} < ids(broker)


def test_threads_at_once_are_two_statements(broker: PostgresBroker, gate: Gate) -> None:
    with ThreadPoolExecutor(COUNT) as pool:
        adding = [pool.submit(add, broker)]
        gate.begun.wait(30)
        adding += [pool.submit(add, broker) for _ in range(COUNT - 1)]
        while len(broker._database._together._line) < COUNT - 1:
            threading.Event().wait(0.001)
        gate.opened.set()
        made = {each.result(30).id for each in adding}
    assert len(gate.asked) == 2
    assert len(made) == COUNT
    assert len(take(broker, 100)) == COUNT + 1


def test_one_that_cannot_be_stored_fails_alone(broker: PostgresBroker, gate: Gate) -> None:
    async def enqueue() -> list[object]:
        first = broker.arun(broker.enqueue([new_job()], {}))
        await asyncio.to_thread(gate.begun.wait)
        jobs = [new_job(), new_job(task="no\0name"), new_job()]
        others = [broker.arun(broker.enqueue([job], {})) for job in jobs]
        gate.opened.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    first, one, bad, other = asyncio.run(enqueue())
    assert isinstance(bad, BrokerError)
    assert all(isinstance(each, list) for each in (first, one, other))
    assert len(take(broker, 10)) == 4


def test_a_full_queue_and_a_key_that_is_taken_are_answers_to_the_one_who_asked(
    broker: PostgresBroker, gate: Gate
) -> None:
    async def enqueue() -> list[object]:
        first = broker.arun(broker.enqueue([new_job()], {}))
        await asyncio.to_thread(gate.begun.wait)
        bounds = {"small": BOUND}
        several = [[new_job(key="k")], [new_job(key="k")], [new_job(queue="small"), new_job(queue="small")]]
        others = [broker.arun(broker.enqueue(jobs, bounds)) for jobs in [*several, [new_job()]]]
        gate.opened.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    _, one, same, full, other = asyncio.run(enqueue())
    assert isinstance(one, list)
    assert isinstance(same, list)
    assert one[0].id == same[0].id
    assert isinstance(full, QueueFull)
    assert isinstance(other, list)


def test_an_id_that_is_there_after_all_is_not_stored_twice(broker: PostgresBroker, url: str) -> None:
    old, new = add(broker), new_job()
    stored = broker.run(broker.enqueue([new, new_job(id=old.id, locator=-1)], {}))
    assert [job.id for job in stored] == [new.id, old.id]
    assert sql(url, f"SELECT count(*) FROM {schema_of(url)}.jobs") == [(2,)]
