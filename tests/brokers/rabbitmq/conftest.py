"""RabbitMQ brokers of one test: each object is a process of its own, and all are closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from backburner.brokers.base import Claim
from backburner.brokers.rabbitmq.broker import RabbitBroker
from backburner.job import JobRecord, new_id
from backburner.lifecycle import Settlement

Connect = Callable[..., "Process"]


class Process:
    """A broker as these tests drive it."""

    def __init__(self, url: str) -> None:
        self.broker = RabbitBroker(url)
        self.poison_after = 3

    def enqueue(self, *jobs: JobRecord) -> list[JobRecord]:
        return self.broker.run(self.broker.enqueue(jobs, {}))

    def add(self, count: int = 1, **fields: object) -> list[JobRecord]:
        return self.enqueue(*(new_job(**fields) for _ in range(count)))

    def claim(
        self, limit: int = 10, *settlements: Settlement, queues: tuple[str, ...] = ("default",)
    ) -> list[JobRecord]:
        claim = Claim(worker="w", queues=queues, limit=limit, poison_after=self.poison_after)
        return self.broker.run(self.broker.exchange(settlements, claim)).jobs

    def settle(self, *settlements: Settlement) -> list[str]:
        return self.broker.run(self.broker.exchange(settlements, None)).lost

    def next(self, queue: str = "default") -> JobRecord:
        """The next job of a queue, when it comes."""
        return self.all(1, queue)[0]

    def all(self, count: int, queue: str = "default", patience: int = 20) -> list[JobRecord]:
        """So many jobs, as they come: a claim takes what has arrived."""
        found: list[JobRecord] = []
        with self.broker.waiter([f"queue:{queue}"]) as waiter:
            while len(found) < count and patience:
                if more := self.claim(count - len(found), queues=(queue,)):
                    found += more
                else:
                    waiter.wait(1.0)
                    patience -= 1
        assert len(found) == count, f"of {count} jobs {len(found)} came to {queue}"
        return found


def new_job(**fields: object) -> JobRecord:
    return JobRecord(**{"id": new_id(), "task": "t", **fields})  # type: ignore[arg-type]


@pytest.fixture
def connect(rabbit_url: str) -> Iterator[Connect]:
    made: list[Process] = []

    def make(options: str = "", url: str = rabbit_url) -> Process:
        made.append(Process(url + options))
        return made[-1]

    yield make
    for each in made:
        each.broker.close()
