"""Waiting for one of several things."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any


async def first(waits: Sequence[asyncio.Future[Any]], timeout: float | None) -> None:
    """Wait for the first of these, so many seconds at most, and call off the others."""
    try:
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()
