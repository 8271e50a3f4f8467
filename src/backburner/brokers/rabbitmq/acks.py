"""Which deliveries of a channel are settled (pure), so that one acknowledgement speaks for as many as it can.

Delivery tags count from 1. `multiple` acknowledges all up to a tag, so it is good for the tags below the
first one that is still in hand; those beyond are acknowledged one by one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple


class Frame(NamedTuple):
    """One acknowledgement."""

    tag: int
    multiple: bool


class Acks:
    """The settled tags of one channel."""

    def __init__(self) -> None:
        self._low = 0
        """All tags up to here are settled."""
        self._beyond: set[int] = set()

    def settle(self, tags: Collection[int]) -> list[Frame]:
        """What to send for these, each of which is settled for the first time."""
        if not tags:
            return []
        self._beyond.update(tags)
        low = self._low
        while low + 1 in self._beyond:
            low += 1
            self._beyond.remove(low)
        # RabbitMQ refuses a tag that it does not wait for: name one of these.
        highest = max((tag for tag in tags if tag <= low), default=0)
        self._low = low
        frames = [Frame(highest, multiple=True)] if highest else []
        return frames + [Frame(tag, multiple=False) for tag in tags if tag > low]
