"""What was delivered from one queue and is not claimed yet, in the order in which it is claimed (pure)."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence

from backburner.brokers.rabbitmq.message import Received
from backburner.brokers.rabbitmq.schema import BANDS, band_of


class Delivery:
    """A message in hand: where it came from, and what it holds."""

    __slots__ = ("at", "channel", "queue", "received", "tag")

    def __init__(self, queue: str, channel: object, tag: int, received: Received, at: float) -> None:
        self.at = at
        """When it came, on `time.monotonic()`."""
        self.queue = queue
        self.channel = channel
        self.tag = tag
        self.received = received


class Shelf:
    """Bands in strict order; within one, first what came back to its place, then as they came."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, bool], deque[Delivery]] = {
            (band, came_back): deque() for band in BANDS for came_back in (True, False)
        }

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def add(self, delivery: Delivery, band: str) -> None:
        own = band_of(delivery.received.job.priority)
        self._lines[own, band not in BANDS].append(delivery)

    def older(self, than: float) -> Iterator[Delivery]:
        """Take away what came before that time."""
        for line in self._lines.values():
            while line and line[0].at < than:
                yield line.popleft()

    def put_back(self, deliveries: Sequence[Delivery]) -> None:
        """Where they were taken away."""
        for delivery in reversed(deliveries):
            self._lines[band_of(delivery.received.job.priority), True].appendleft(delivery)

    def take(self, limit: int, exclude: Collection[str] = ()) -> Iterator[Delivery]:
        """Up to `limit`, without those of the excluded tasks."""
        for line in self._lines.values():
            passed: list[Delivery] = []
            while line and limit > 0:
                delivery = line.popleft()
                if exclude and delivery.received.job.task in exclude:
                    passed.append(delivery)
                    continue
                limit -= 1
                yield delivery
            line.extendleft(reversed(passed))
