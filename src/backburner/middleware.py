"""The one extension point: code around every enqueue and around every run.

A middleware gives context managers. A plain one runs where the task runs (in its thread, on the loop,
in its process); an asynchronous one runs on the worker's event loop, outside the plain ones. An
exception that leaves the task passes through them, as it does through any `with`.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backburner.context import CurrentJob
    from backburner.job import JobRecord

Around = AbstractContextManager[object] | AbstractAsyncContextManager[object]

NOTHING: AbstractContextManager[None] = nullcontext()


class Middleware:
    """Override what you need; write it with `contextlib.contextmanager` or `asynccontextmanager`."""

    def enqueue(self, job: JobRecord) -> Around:
        """Around one enqueue. It may change the record, as in `job.options.meta`, before the `yield`.

        An asynchronous one works with `aenqueue` only.
        """
        return NOTHING

    def run(self, job: CurrentJob) -> Around:
        """Around one attempt."""
        return NOTHING
