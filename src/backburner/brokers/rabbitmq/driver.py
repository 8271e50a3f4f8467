"""RabbitMQ as one process uses it: two connections, and one thread that serves both.

The steps of an operation are performed on the loop of that thread: one that an event loop awaits as a whole,
one of another thread step by step, for which that waits. A step that has begun is completed all the same when
its caller is called off; but a lone message is then published once, and not again. Whoever has many of those
goes past that thread, on another connection: threads on one of their own (`alone.py`), coroutines on one of
their loop (`on_loop.py`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from backburner.brokers.base import Operation
from backburner.brokers.gathering import FEW, gathered
from backburner.brokers.loops import Loops
from backburner.brokers.rabbitmq import message
from backburner.brokers.rabbitmq.address import Address
from backburner.brokers.rabbitmq.alone import Alone
from backburner.brokers.rabbitmq.background import Background
from backburner.brokers.rabbitmq.claims import Claims
from backburner.brokers.rabbitmq.consumer import Consumer
from backburner.brokers.rabbitmq.copies import Copies
from backburner.brokers.rabbitmq.dead_letters import DeadLetters
from backburner.brokers.rabbitmq.on_loop import OnLoop
from backburner.brokers.rabbitmq.publisher import Batch, Publisher
from backburner.brokers.rabbitmq.schedules import Schedules
from backburner.brokers.rabbitmq.schema import Part, Schema
from backburner.brokers.rabbitmq.steps import Enter, Publish
from backburner.brokers.rabbitmq.waiter import WorkWaiter
from backburner.brokers.shield import shielded
from backburner.errors import BackburnerError

logger = logging.getLogger("backburner")
T = TypeVar("T")
LARGE = 1 << 18
"""Bytes of arguments that are not written down and sent on the loop of a program: it would stand still."""


class Driver:
    """The server at `address`; `clock` gives the time, by default this machine's."""

    def __init__(self, address: Address, clock: Callable[[], float] | None) -> None:
        self.address = address
        self.clock = clock or time.time
        self.schema = Schema(address.prefix, address.queues)
        self._background = Background(self._begin)
        self._begin()

    def _begin(self) -> None:
        self.publisher = Publisher(self.address, self.schema)
        self.alone = Alone(self.address)
        self._loops = Loops(lambda loop: OnLoop(loop, self._another, self.address.patience))
        self.consumer = Consumer(self.address, self.schema, self.publisher)
        self.claims = Claims(self.schema, self.consumer, self.publisher, self.clock)
        self.dead_letters = DeadLetters(self.address, self.schema, self.consumer, self.publisher, self.clock)
        self.copies = Copies(self.address, self.schema, self.consumer, self.publisher)
        self.schedules = Schedules(self.address, self.schema, self.consumer, self.publisher)

    def _another(self) -> Publisher:
        return Publisher(self.address, self.schema)

    def run(self, operation: Operation[T]) -> T:
        return performed(operation, self._step)

    def arun(self, operation: Operation[T]) -> Awaitable[T]:
        return gathered(operation, self.publish_here, self._in_background)

    def publish_here(self, step: Any) -> Awaitable[None] | None:
        """Publish on the loop that asks; nothing for steps that are not for it."""
        messages = self._messages(step, FEW)
        if not messages or sum([len(each.body) for each in messages]) > LARGE:
            return None
        return self._loops.of_this().publish(messages)

    def _in_background(self, operation: Operation[T], step: Any) -> Awaitable[T]:
        first = None if step is None else step.perform(self)
        performing = aperformed(operation, lambda step: step.perform(self), first)
        return shielded(asyncio.wrap_future(self._background.submit(performing)))

    def _step(self, step: Any) -> Any:
        if messages := self._messages(step, 1):
            return self._publish_alone(messages)
        return self._background.submit(step.perform(self)).result()

    def _messages(self, step: Any, most: int) -> Sequence[message.Message]:
        """Those of a step that publishes so many at most, else none."""
        if isinstance(step, Enter) and len(step.jobs) <= most:
            return step.messages(self.schema)
        if isinstance(step, Publish) and len(step.messages) <= most:
            return step.messages
        return ()

    def _publish_alone(self, messages: Sequence[message.Message]) -> None:
        batch, stored = Batch(messages), False
        if self.publisher.has_declared(messages[0]) and self.alone.publish(batch):
            return
        with suppress(TimeoutError):
            told = self._background.call(partial(self.publisher.try_at_once, batch))
            stored = told.result(batch.silence * self.address.patience)
        if not stored:
            self._background.submit(self.publisher.publish_batch(batch)).result()

    def listen(self, waiter: WorkWaiter) -> None:
        """Wake it when there is work, until `unlisten`."""

        async def begin() -> None:
            self.consumer.waiters.add(waiter)
            await self.consumer.listen(waiter.queues)

        def begun(done: Future[None]) -> None:
            # Whoever waits claims then, and is told why nothing comes: here nobody would hear it.
            if not done.cancelled() and (error := done.exception()) is not None:
                logger.warning("%s: whoever waits for work there is not told of it yet", error)
                waiter.wake()

        if waiter.queues:
            self._background.submit(begin()).add_done_callback(begun)

    def unlisten(self, waiter: WorkWaiter) -> None:
        async def end() -> None:
            self.consumer.waiters.discard(waiter)

        # As a task, like its beginning: a mere call would overtake that, and the waiter stay for ever.
        if self._background.started:
            self._background.submit(end())

    async def set_paused(self, queue: str, paused: bool) -> None:
        """A message in its gate says that a queue is paused; all workers are told."""
        gate = Part("gate", queue)
        if not paused:
            await self.publisher.purge(gate)
        elif not await self.publisher.waiting(gate):
            await self.publisher.publish([message.note(self.schema, gate)])
        await self.publisher.publish([message.telling(self.schema, queue, paused)])

    def close(self) -> None:
        self._loops.close()
        self.alone.close()
        self._background.close(self._end())
        self._begin()

    async def _end(self) -> None:
        await self.copies.close()
        await self.consumer.close()
        await self.publisher.close()


def performed(operation: Operation[T], perform: Callable[[Any], Any]) -> T:
    """`perform` performs a step."""
    reply: Any = None
    send: Callable[[Any], Any] = operation.send
    try:
        while True:
            step = send(reply)
            try:
                reply, send = perform(step), operation.send
            except BackburnerError as error:
                reply, send = error, operation.throw
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        operation.close()


async def aperformed(
    operation: Operation[T],
    begin: Callable[[Any], Awaitable[Any]],
    first: Awaitable[Any] | None = None,
) -> T:
    """`begin` performs a step; `first` is the answer to the first one, if that was begun already."""
    send: Callable[[Any], Any]
    try:
        answer = begin(operation.send(None)) if first is None else first
        while True:
            try:
                reply, send = await answer, operation.send
            except BackburnerError as error:
                reply, send = error, operation.throw
            answer = begin(send(reply))
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        operation.close()
