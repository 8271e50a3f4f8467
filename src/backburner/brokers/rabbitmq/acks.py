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
    """The settled tags of one channel. It grows with what is in hand, not with what was settled meanwhile."""

    def __init__(self) -> None:
        self._low = 0
        """All tags up to here are settled."""
        self._last: dict[int, int] = {}
        """The runs of settled tags beyond: the last tag by the first one."""
        self._first: dict[int, int] = {}
        """And the other way round."""

    def settle(self, tags: Collection[int]) -> list[Frame]:
        """What to send for these, each of which is settled for the first time."""
        for tag in tags:
            if tag == self._low + 1:
                self._low = tag
                if (last := self._last.pop(tag + 1, None)) is not None:
                    del self._first[last]
                    self._low = last
            else:
                self._beyond(tag)
        low = self._low
        # RabbitMQ refuses a tag that it does not wait for: name one of these.
        highest = max((tag for tag in tags if tag <= low), default=0)
        frames = [Frame(highest, multiple=True)] if highest else []
        return frames + [Frame(tag, multiple=False) for tag in tags if tag > low]

    def _beyond(self, tag: int) -> None:
        """Join it to the runs on both sides."""
        first, last = self._first.pop(tag - 1, tag), self._last.pop(tag + 1, tag)
        self._last[first], self._first[last] = last, first
