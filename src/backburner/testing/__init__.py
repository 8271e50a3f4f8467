"""Helpers for tests of programs that use Backburner, and of brokers.

```python
from backburner.testing import Clock, drain, isolated


def test_a_photo_gets_its_thumbnails():
    with isolated(app, clock=Clock()) as clock:   # an empty queue of its own, in memory
        job = make_thumbnails.enqueue(42)
        drain(app)                                # runs what is due, through the real worker
        assert job.result(timeout=0) == ["64.jpg", "128.jpg"]
        clock.advance(3600)                       # an hour later
        drain(app)
```

With pytest the fixture `backburner_url` gives the URL of an empty database in the test's own folder. The
package `conformance` is the suite that every broker passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from backburner.brokers.base import Capability
from backburner.periodic import tick

if TYPE_CHECKING:
    from backburner.app import Backburner
    from backburner.brokers.base import QueueInfo


class Clock:
    """A clock that stands still until it is told to move. Calling it gives seconds since the epoch."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@contextmanager
def isolated(app: Backburner, clock: Clock | None = None) -> Iterator[Clock]:
    """Give `app` an empty queue in memory until the context ends, and the time of `clock`."""
    from backburner.brokers.sqlite.broker import SqliteBroker

    clock = clock or Clock()
    real, app.broker = app.broker, SqliteBroker("sqlite://", clock)
    app.__dict__.pop("inspector", None)
    try:
        yield clock
    finally:
        app.broker.close()
        app.broker = real
        app.__dict__.pop("inspector", None)


def drain(app: Backburner) -> int:
    """Run every job that is due, and what these enqueue, in a real worker; how many attempts that took.

    What is due later, by the broker's clock, stays. Where the broker cannot count its jobs, it ends when the
    worker has looked twice and been given nothing.
    """
    return asyncio.run(adrain(app))


async def adrain(app: Backburner) -> int:
    """`drain`, for asynchronous tests."""
    broker = app.broker
    async with app.worker() as embedded:
        if Capability.LOOKUP not in broker.capabilities:
            await embedded.drained()
            return embedded.worker.finished
        while True:
            with broker.waiter([]) as waiter:
                await broker.arun(tick(broker))
                staged = await broker.arun(broker.stage(1000))
                infos = await broker.arun(broker.queues())
                if not (
                    staged.count or any(_busy(info) for info in infos if info.name in embedded.worker.queues)
                ):
                    return embedded.worker.finished
                await waiter.wait_async(0.02)


def _busy(info: QueueInfo) -> bool:
    return bool(info.counts.get("running") or (info.counts.get("queued") and not info.paused))
