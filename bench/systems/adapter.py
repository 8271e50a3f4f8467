"""What a library offers to the benchmark, seen from within its own environment.

A file `bench/systems/LIBRARY.py` makes the library's app, with a task of each kind that calls `jobs.run` or
`jobs.arun`, and an `adapter`. What an adapter does not override its library does not offer, and is not
measured. Only the standard library is imported here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import ClassVar, NamedTuple

URL = os.environ.get("BENCH_URL", "")
RESULTS = bool(os.environ.get("BENCH_RESULTS"))
"""Whether a producer will ask for the results."""
CONCURRENCY = int(os.environ.get("BENCH_CONCURRENCY", "0")) or None
"""Of a worker's `Load`, for libraries that are not told on the command line."""

LATER = 3600
"""Seconds for which a job is put off."""


class Load(NamedTuple):
    """What a worker shall be able to run. None: as many as this library is at its best with, on two cores."""

    kind: str
    concurrency: int | None = None
    """Jobs at once in each process."""
    processes: int | None = None


class Adapter:
    """One library on the broker at `URL`. A job is a name of `jobs.run` and a number."""

    packages: ClassVar[tuple[str, ...]]
    """Those whose versions are told."""
    kinds: ClassVar[tuple[str, ...]]
    """coroutine, function; `compute`, where there is a special way for what keeps a core busy; `retried`,
    whose jobs are tried again as soon as the library can; `wake`, which are told and not stored.
    """
    guarantee: ClassVar[str]
    """What happens to a job whose worker or broker dies, with these settings."""
    at_least_once: ClassVar[bool] = True
    """Whether no job is lost with its worker."""
    settings: ClassVar[str]
    """All that is not a default, and the best load."""

    without: ClassVar[tuple[str, ...]] = ()
    """Measures that would say nothing of it."""
    thread_safe: ClassVar[bool] = True
    """Whether `send` may be called from many threads at once."""

    def prepare(self) -> None:
        """Make what has to be there before all else, such as tables."""

    def opened(self) -> AbstractAsyncContextManager[object]:
        """Within it the coroutines below are called."""
        return nullcontext()

    def close(self) -> None:
        """Send what is not yet sent, and leave."""

    def send(self, kind: str, job: str, value: float) -> None:
        """Enqueue one job: safe when it returns."""
        raise NotImplementedError

    async def asend(self, kind: str, job: str, value: float) -> None:
        raise NotImplementedError

    def send_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        """All at once, as the library does it best."""
        raise NotImplementedError

    async def asend_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        raise NotImplementedError

    def send_later_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        """The same, due after `LATER` seconds."""
        raise NotImplementedError

    async def asend_later_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        raise NotImplementedError

    def call_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        """Enqueue all, and wait for the result of each."""
        raise NotImplementedError

    async def acall_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        raise NotImplementedError

    def workers(self, load: Load) -> list[list[str]]:
        """The commands that together are a worker for this load."""
        raise NotImplementedError

    def offers(self, method: str) -> bool:
        return getattr(type(self), method) is not getattr(Adapter, method)
