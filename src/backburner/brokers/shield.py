"""What has begun is completed, whether or not anybody still waits for it."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


def shielded(inner: asyncio.Future[T]) -> asyncio.Future[T]:
    """To be awaited: who is called off meanwhile leaves it alone."""
    inner.add_done_callback(_hear)
    return asyncio.shield(inner)


def _hear(inner: asyncio.Future[T]) -> None:
    if not inner.cancelled():
        inner.exception()  # or asyncio would print it as one that was never retrieved
