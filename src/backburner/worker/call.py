"""Calling a task's function: arguments in, encoded result out. The library's last frames above user code."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any

from backburner import context
from backburner.codec import REFERENCE
from backburner.worker.outcome import ResultError

if TYPE_CHECKING:
    from backburner.app import Backburner
    from backburner.context import CurrentJob
    from backburner.task import Task

_REFERENCE = f'"{REFERENCE}"'.encode()


def call(app: Backburner, task: Task[..., Any], payload: bytes, current: CurrentJob) -> bytes | None:
    """Run a plain function here, inside its plain middleware."""
    assert task.function is not None
    assert task.signature is not None
    entered = context.enter(current)
    try:
        args, kwargs = task.signature.decode(payload)
        if not app.middleware:
            return encoded(app, task, task.function(*args, **kwargs))
        with ExitStack() as stack:
            for middleware in app.middleware:
                around: Any = middleware.run(current)
                if hasattr(around, "__enter__"):
                    stack.enter_context(around)
            return encoded(app, task, task.function(*args, **kwargs))
        raise AssertionError("a middleware swallowed the exception of a task")
    finally:
        context.leave(entered)


async def acall(app: Backburner, task: Task[..., Any], payload: bytes, current: CurrentJob) -> bytes | None:
    """Run a coroutine function here, inside all its middleware."""
    assert task.function is not None
    assert task.signature is not None
    context.enter(current)
    if _REFERENCE in payload:  # loading an object is I/O, and plain code
        args, kwargs = await asyncio.to_thread(task.signature.decode, payload)
    else:
        args, kwargs = task.signature.decode(payload)
    if not app.middleware:
        return encoded(app, task, await task.function(*args, **kwargs))
    async with AsyncExitStack() as stack:
        arounds: list[Any] = [middleware.run(current) for middleware in app.middleware]
        for around in arounds:
            if hasattr(around, "__aenter__"):
                await stack.enter_async_context(around)
        for around in arounds:
            if not hasattr(around, "__aenter__"):
                stack.enter_context(around)
        return encoded(app, task, await task.function(*args, **kwargs))
    raise AssertionError("a middleware swallowed the exception of a task")


def encoded(app: Backburner, task: Task[..., Any], value: Any) -> bytes | None:
    if value is None:
        return None
    try:
        return app.codec.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ResultError(
            f"{task.name} ran, but its result ({type(value).__qualname__}) cannot be stored: {error}; "
            "return plain data, or nothing"
        ) from error
