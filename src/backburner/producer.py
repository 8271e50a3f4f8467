"""The way of new jobs into the broker.

1. Middleware goes around the enqueue; it may change the records.
2. The jobs are stored in operations of up to 1,000, on the caller's own connection if one was given.
3. A full queue that blocks is tried again after a pause, with `QueueFull` at the end of its patience.
4. Events say what was stored, and the caller gets a handle on each job.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from backburner import ambient
from backburner.errors import ConfigError, QueueFull
from backburner.events import Enqueued, LargePayload, QueueFilled
from backburner.job import Job, JobRecord

if TYPE_CHECKING:
    from backburner.app import Backburner
    from backburner.brokers.base import Bound
    from backburner.task import Task

R = TypeVar("R")
CHUNK = 1000


class Producer:
    """Stores the prepared jobs of one app."""

    def __init__(self, app: Backburner) -> None:
        self._app = app

    def store(self, task: Task[..., R], records: list[JobRecord]) -> list[Job[R]]:
        if not self._app.middleware:
            return self._handles(task, records, self._put(task, records))
        stored = list[JobRecord]()
        with ExitStack() as stack:
            for around in self._around(records):
                if not hasattr(around, "__enter__"):
                    raise ConfigError(
                        f"{around!r} is asynchronous: a sync enqueue cannot run it; use aenqueue"
                    )
                stack.enter_context(around)
            stored = self._put(task, records)
        return self._handles(task, records, stored)

    async def astore(self, task: Task[..., R], records: list[JobRecord]) -> list[Job[R]]:
        if not self._app.middleware:
            return self._handles(task, records, await self._aput(task, records))
        stored = list[JobRecord]()
        async with AsyncExitStack() as stack:
            for around in self._around(records):
                if hasattr(around, "__aenter__"):
                    await stack.enter_async_context(around)
                else:
                    stack.enter_context(around)
            stored = await self._aput(task, records)
        return self._handles(task, records, stored)

    def _put(self, task: Task[..., R], records: list[JobRecord]) -> list[JobRecord]:
        app, broker, stored = self._app, self._app.broker, list[JobRecord]()
        connection = task.placement.connection
        for chunk in _chunks(records, app.bounds):
            began = ambient.monotonic()
            while True:
                try:
                    operation = broker.enqueue(chunk, app.bounds)
                    if connection is None:
                        stored += broker.run(operation)
                    else:
                        stored += broker.run_on(connection, operation)
                    break
                except QueueFull as full:
                    time.sleep(self._patience(full, began, connection))
        return stored

    async def _aput(self, task: Task[..., R], records: list[JobRecord]) -> list[JobRecord]:
        app, broker, stored = self._app, self._app.broker, list[JobRecord]()
        connection = task.placement.connection
        for chunk in _chunks(records, app.bounds):
            began = ambient.monotonic()
            while True:
                try:
                    operation = broker.enqueue(chunk, app.bounds)
                    if connection is None:
                        stored += await broker.arun(operation)
                    else:
                        stored += await broker.arun_on(connection, operation)
                    break
                except QueueFull as full:
                    import asyncio  # whoever awaits this has it; the rest of the package does without

                    await asyncio.sleep(self._patience(full, began, connection))
        return stored

    def _around(self, records: list[JobRecord]) -> Iterator[Any]:
        for record in records:  # a middleware may write into `meta`, which all jobs of a task share
            record.options = replace(record.options, meta=dict(record.options.meta))
        ids = [record.id for record in records]
        for middleware in self._app.middleware:
            for record in records:
                yield middleware.enqueue(record)
        for record, made in zip(records, ids, strict=True):
            if record.id != made:  # it may have been used before
                record.locator = 0

    def _patience(self, full: QueueFull, began: float, connection: Any) -> float:
        """Seconds until the next try; raises `full` when there is none.

        In a caller's transaction there is none: while it is open, no worker can make room.
        """
        app = self._app
        app.events.emit(QueueFilled(queue=full.queue, depth=full.depth, max_length=full.max_length))
        bound, waited = app.bounds[full.queue], ambient.monotonic() - began
        longest = math.inf if bound.timeout is None else bound.timeout
        if bound.on_full != "block" or connection is not None or waited >= longest:
            raise full
        return min(0.02 + waited / 10, 1.0)

    def _handles(self, task: Task[..., R], records: list[JobRecord], stored: list[JobRecord]) -> list[Job[R]]:
        app = self._app
        if len(stored) != len(records):
            raise ConfigError(
                "a middleware has swallowed what an enqueue raised, and there is no job to return: let "
                "its `enqueue` raise that again"
            )
        warn = app.settings.warn_payload
        for record in records:
            if len(record.payload) > warn:
                app.events.emit(LargePayload(job=record, size=len(record.payload)))
        if app.events.wanted(Enqueued):
            for record, kept in zip(records, stored, strict=True):
                if kept is record:
                    app.events.emit(Enqueued(job=record))
        returns = app.returns(task.name)
        return [
            Job(app, kept, returns, duplicate=kept is not record)
            for record, kept in zip(records, stored, strict=True)
        ]


def _chunks(records: list[JobRecord], bounds: Mapping[str, Bound]) -> list[list[JobRecord]]:
    """Up to 1,000 each; no more than a queue that blocks can ever take at once."""
    if not bounds and 0 < len(records) <= CHUNK:
        return [records]
    used = [bounds[queue] for queue in {record.queue for record in records} if queue in bounds]
    size = min([CHUNK, *(bound.max_length for bound in used if bound.on_full == "block")])
    return [records[start : start + size] for start in range(0, len(records), size)]
