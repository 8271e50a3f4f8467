"""How the operations of RabbitMQ with a results store are performed: each step by the one whose it is.

An operation yields `InStore`, which the store performs, and steps of RabbitMQ, which the driver performs.
In a caller's transaction only the store takes part: whether it is committed is not known here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from backburner.brokers.base import Broker, Operation
from backburner.brokers.rabbitmq.driver import Driver, aperformed, performed
from backburner.brokers.rabbitmq.results_steps import InStore, alone
from backburner.brokers.shield import shielded
from backburner.errors import BackburnerError

T = TypeVar("T")


class Performing(Broker):
    """Runs operations on a store, `results`, and on RabbitMQ."""

    results: Broker
    _driver: Driver

    def run(self, operation: Operation[T]) -> T:
        def perform(step: Any) -> Any:
            if isinstance(step, InStore):
                return self.results.run(step.operation)
            return self._driver.run(alone(step))

        return performed(operation, perform)

    def arun(self, operation: Operation[T]) -> Awaitable[T]:
        try:
            first = self._begin(operation.send(None))
        except (StopIteration, BackburnerError) as end:
            done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            if isinstance(end, StopIteration):
                done.set_result(end.value)
            else:
                done.set_exception(end)
            return done
        # Shielded: what the store has done is followed by its copy, whether or not anybody still waits.
        return shielded(asyncio.ensure_future(aperformed(operation, self._begin, first)))

    def _begin(self, step: Any) -> Awaitable[Any]:
        if isinstance(step, InStore):
            return self.results.arun(step.operation)
        return self._driver.publish_here(step) or self._driver.arun(alone(step))

    def run_on(self, connection: Any, operation: Operation[T]) -> T:
        def perform(step: Any) -> Any:
            if isinstance(step, InStore) and not step.apart:
                return self.results.run_on(connection, step.operation)
            return None

        return performed(operation, perform)

    async def arun_on(self, connection: Any, operation: Operation[T]) -> T:
        async def begin(step: Any) -> Any:
            if isinstance(step, InStore) and not step.apart:
                return await self.results.arun_on(connection, step.operation)
            return None

        return await aperformed(operation, begin)
