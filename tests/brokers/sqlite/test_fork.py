"""A process that forks, and its children. SQLite itself would lose data here."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from backburner.brokers.sqlite.broker import SqliteBroker
from backburner.errors import BrokerError
from tests.brokers.sqlite.conftest import add, connection, ids, new_job

FORK = multiprocessing.get_context("fork")


class Child:
    """A forked process that does what it is told, one thing after the other."""

    def __init__(self, work: Callable[[str], Any]) -> None:
        self.pipe, theirs = FORK.Pipe()
        self.process = FORK.Process(target=serve, args=(theirs, work))
        self.process.start()
        theirs.close()

    def __call__(self, word: str = "") -> Any:
        self.pipe.send(word)
        assert self.pipe.poll(30)
        return self.pipe.recv()

    def end(self) -> None:
        self.pipe.send(None)  # not a closed pipe: the children have copies of its ends
        self.process.join(30)
        assert self.process.exitcode == 0
        self.process.close()
        self.pipe.close()


def serve(pipe: Connection, work: Callable[[str], Any]) -> None:
    while (word := pipe.recv()) is not None:
        try:
            pipe.send(work(word))
        except BrokerError as error:
            pipe.send(str(error))


def test_a_child_goes_on_with_the_broker_of_its_parent(broker: SqliteBroker) -> None:
    first = add(broker).id
    child = Child(lambda _: add(broker).id)
    second = child()
    assert ids(broker) == {first, second}
    assert {child(), add(broker).id, first, second} == ids(broker)
    child.end()


def test_what_a_child_stores_stays_when_its_parent_closes_the_file(broker: SqliteBroker, path: Path) -> None:
    """With a connection that crossed the fork, the parent deleted the log that the child wrote to."""
    add(broker)
    child = Child(lambda _: add(broker).id)
    stored = {child()}
    broker.close()
    stored.add(child())
    reader = SqliteBroker(f"sqlite:///{path}")
    assert stored <= ids(reader)
    reader.close()
    child.end()
    assert stored <= ids(broker)


def test_a_child_does_not_perform_what_waits_in_its_parent(broker: SqliteBroker) -> None:
    add(broker)
    jobs = [new_job() for _ in range(50)]
    with ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(broker.run, broker.enqueue([job], {})) for job in jobs]
        child = Child(lambda _: add(broker).id)
        mine = child()
        assert [call.result(30)[0].id for call in calls] == [job.id for job in jobs]
    assert ids(broker) >= {mine, *(job.id for job in jobs)}
    child.end()


def test_a_fork_waits_for_the_transaction_that_is_being_written(broker: SqliteBroker) -> None:
    stop = threading.Event()

    def busy() -> int:
        count = 0
        while not stop.is_set():
            add(broker)
            count += 1
        return count

    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(busy) for _ in range(4)]
        children = [Child(lambda _: add(broker).id) for _ in range(5)]
        stored = {child() for child in children}
        stop.set()
        count = sum(call.result(30) for call in calls)
    for child in children:
        child.end()
    assert stored <= ids(broker)
    assert len(ids(broker)) == count + 5
    assert connection(broker).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_an_event_loop_works_in_parent_and_child(path: Path) -> None:
    script = f"""
        import asyncio, os
        from backburner.brokers.sqlite.broker import SqliteBroker
        from backburner.job import JobRecord, new_id

        broker = SqliteBroker("sqlite:///{path}")

        async def add():
            await broker.arun(broker.enqueue([JobRecord(id=new_id(), task="t")], {{}}))

        asyncio.run(add())
        child = os.fork()
        asyncio.run(add())
        if child:
            assert os.waitpid(child, 0)[1] == 0
        """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=50)
    broker = SqliteBroker(f"sqlite:///{path}")
    assert len(ids(broker)) == 3
    broker.close()


def test_a_queue_in_memory_refuses_the_jobs_of_a_forked_child() -> None:
    broker = SqliteBroker("sqlite://")
    mine = add(broker).id
    child = Child(lambda _: add(broker).id)
    assert "belongs to the process that made it" in child()
    child.end()
    assert {mine, add(broker).id} == ids(broker)
    broker.close()


def test_a_child_that_ends_leaves_its_parents_wake_ups_alone() -> None:
    broker = SqliteBroker("sqlite://")
    with broker.waiter(["queue:default"]) as waiter:
        child = Child(lambda _: None)
        child.end()
        add(broker)
        assert waiter.wait(5)
    broker.close()


@pytest.mark.parametrize("used", [False, True])
def test_a_spawned_process_begins_with_nothing(broker: SqliteBroker, path: Path, used: bool) -> None:
    if used:
        add(broker)
    enqueue = "print(Backburner(sys.argv[1]).enqueue('t', 1).id, end='')"
    script = f"import sys; from backburner import Backburner; {enqueue}"
    command = [sys.executable, "-c", script, f"sqlite:///{path}"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed in ids(broker)
