"""Trying again while it may help."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pika import exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from backburner.brokers.rabbitmq.address import Address
from backburner.brokers.rabbitmq.errors import Lost, Refused, permanent, translation
from backburner.errors import BrokerUnavailable

T = TypeVar("T")
PAUSE = 0.05
"""Seconds before the first new try; doubled each time, up to a second."""


async def patiently(
    address: Address,
    attempt: Callable[[], Awaitable[T]],
    obstacle: Callable[[], str | None] = lambda: None,
    asked_at: float | None = None,
) -> T:
    """The attempt's answer. It is made again after what passes, until the patience of the URL is over.

    `obstacle` may know what it waits for; `asked_at` is when patience began, on `time.monotonic()`, if not
    now. Raises `BrokerUnavailable` when patience is over, `BrokerError`.
    """
    passed = 0.0 if asked_at is None else time.monotonic() - asked_at
    pause, trouble = PAUSE, ""
    try:
        async with asyncio.timeout(address.patience - passed):
            while True:
                try:
                    return await attempt()
                except (Lost, Refused, OSError, exceptions.AMQPError, AMQPConnectorException) as error:
                    if permanent(error):
                        raise translation(error, address.shown) from error
                    trouble = str(translation(error, address.shown))
                await asyncio.sleep(pause)
                pause = min(2 * pause, 1.0)
    except TimeoutError:
        silence = f"{address.shown} did not answer within {address.patience:g} s"
        raise BrokerUnavailable(obstacle() or trouble or silence) from None
