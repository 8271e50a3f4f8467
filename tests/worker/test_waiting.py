"""Waiting for a result in one process that a worker in another one stores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from backburner import Backburner, lifecycle
from backburner.brokers.base import Beat, Claim, Exchange, Operation, Waiter
from tests.worker.helpers import LONG


@pytest.mark.parametrize("broker_name", ["sqlite"])  # on a server a step is atomic, and there is no between
def test_who_begins_to_wait_just_before_the_result_is_stored_is_woken(
    make_app: Callable[..., Backburner],
) -> None:
    caller, app = make_app(), make_app()
    broker = app.broker
    job = caller.enqueue("anything")
    broker.run(broker.heartbeat([Beat(worker="w", lease=30, new=True)]))
    [record] = broker.run(broker.exchange([], Claim(worker="w", queues=("default",), limit=1))).jobs
    with ExitStack() as stack:

        def settle() -> Operation[Waiter]:
            result = lifecycle.succeeded(record, None, broker.now(), keep=60)
            exchange: Exchange = yield from broker.exchange([result], None)
            assert exchange.lost == []
            waiter = stack.enter_context(caller.broker.waiter([f"job:{job.id}"]))
            assert job.refresh().state == "running", "not committed yet"
            return waiter

        waiter = broker.run(settle())
        assert waiter.wait(1), "by a wake-up, which looking now and then does not give"
    assert job.result(timeout=0) is None


async def test_several_callers_may_wait_for_one_result(make_app: Callable[..., Backburner]) -> None:
    app = make_app()

    @app.task(name="add")
    async def add(a: int, b: int) -> int:
        return a + b

    callers = [make_app() for _ in range(3)]
    first = callers[0].enqueue("add", 1, 2)
    waiting = asyncio.gather(*(caller.job(first.id).aresult(timeout=LONG) for caller in callers))
    async with app.worker():
        assert await waiting == [3, 3, 3]
