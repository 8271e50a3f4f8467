"""A process that forks, and its children: nobody disturbs the sessions of another."""

from __future__ import annotations

import os
from collections.abc import Callable

from backburner.brokers.postgres.broker import PostgresBroker
from tests.brokers.postgres.conftest import add, ids


def in_child(work: Callable[[], object]) -> int:
    """Do it in a forked process; its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_and_its_parent_both_go_on(broker: PostgresBroker) -> None:
    first = add(broker).id
    assert in_child(lambda: add(broker, id="of the child")) == 0
    assert {add(broker).id, "of the child", first} == ids(broker)


def test_a_child_that_closes_leaves_the_sessions_of_its_parent_open(broker: PostgresBroker) -> None:
    add(broker)
    session = broker._database._idle[0]
    assert in_child(broker.close) == 0
    add(broker)
    assert broker._database._idle[0] is session, "it was not opened again"


def test_a_child_waits_and_wakes_for_itself(broker: PostgresBroker) -> None:
    def child() -> None:
        with broker.waiter(["queue:default"]) as waiter:
            add(broker, id="of the child")
            assert any(waiter.wait(5) for _ in range(6))
        broker.close()

    add(broker, queue="other")
    with broker.waiter(["queue:parent"]) as waiter:
        assert in_child(child) == 0
        add(broker, queue="parent")
        assert any(waiter.wait(5) for _ in range(6))


async def test_the_threads_of_a_parent_are_no_trouble_for_its_child(broker: PostgresBroker) -> None:
    import asyncio

    await broker.arun(broker.get(["nobody"]))

    async def child() -> None:
        await broker.arun(broker.enqueue([], {}))
        await broker.arun(broker.get(["nobody"]))

    def alone() -> None:
        asyncio.set_event_loop(None)
        asyncio._set_running_loop(None)
        asyncio.run(child())
        broker.close()

    assert await asyncio.to_thread(in_child, alone) == 0
    await broker.arun(broker.get(["nobody"]))
