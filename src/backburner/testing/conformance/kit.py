"""What the tests of the suite work with: a store, the clock that moves its time, and short names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, Protocol, TypeVar

import pytest

from backburner import lifecycle
from backburner.brokers.base import (
    Beat,
    Bound,
    Broker,
    Capability,
    Claim,
    Directives,
    Exchange,
    Operation,
    Waiter,
)
from backburner.errors import NotSupported
from backburner.job import FRESH, JobRecord, new_id
from backburner.lifecycle import Attempt, ErrorInfo, Settlement, State
from backburner.testing import Clock

T = TypeVar("T")

BOOM = ErrorInfo("builtins.OSError", "the storage is away", "Traceback …\nOSError: the storage is away")
KEEP = 60.0
"""Seconds that a finished job of these tests is kept."""
LEASE = 30.0

ENDINGS: dict[str, Callable[[JobRecord, float], Settlement]] = {
    "succeed": lambda job, now: lifecycle.succeeded(job, b'"done"', now, keep=KEEP),
    "retry": lambda job, now: lifecycle.retrying(job, BOOM, 10, now),
    "die": lambda job, now: lifecycle.dead(job, BOOM, "no use", now),
    "cancel": lambda job, now: lifecycle.cancelled(job, "enough", now, keep=KEEP),
    "snooze": lambda job, now: lifecycle.snoozed(job, 10, now),
    "release": lifecycle.released,
    "crash": lambda job, now: lifecycle.crashed(job, now, poison_after=3),
    "poison": lambda job, now: lifecycle.crashed(job, now, poison_after=1),
}
"""Every way in which a claim can end, by its verb."""


class MakeBroker(Protocol):
    """A new broker object on the test's one store; it reads the time from `clock`."""

    def __call__(self, clock: Clock) -> Broker: ...


def new_job(**fields: Any) -> JobRecord:
    fresh = {} if "id" in fields else {"id": new_id(), "locator": FRESH}
    return JobRecord(**{"task": "conformance.task", **fresh, **fields})


def ids(jobs: Sequence[JobRecord]) -> list[str]:
    return [job.id for job in jobs]


class Store:
    """A broker as the tests drive it: each operation performed at once, with the usual arguments."""

    def __init__(self, broker: Broker, clock: Clock, runner: asyncio.Runner | None) -> None:
        self.broker = broker
        self.clock = clock
        self.runner = runner
        self._registered: set[str] = set()

    def can(self, capability: Capability) -> bool:
        """For a second look at something that the test sees in another way, too."""
        return capability in self.broker.capabilities

    def do(self, operation: Operation[T]) -> T:
        if self.runner is None:
            return self.broker.run(operation)

        async def perform() -> T:
            return await self.broker.arun(operation)

        return self.runner.run(perform())

    def woken(self, waiter: Waiter) -> bool:
        """Whether a wake-up comes; gives it half a minute."""
        for _ in range(30):
            done = waiter.wait(1) if self.runner is None else self.runner.run(waiter.wait_async(1))
            if done:
                return True
        return False

    # Jobs --------------------------------------------------------------------------------------------

    def enqueue(self, *jobs: JobRecord, bound: Bound | None = None) -> list[JobRecord]:
        return self.do(self.broker.enqueue(jobs, {bound.queue: bound} if bound else {}))

    def add(self, **fields: Any) -> JobRecord:
        """Enqueue one job with these fields; what is stored of it."""
        return self.enqueue(new_job(**fields))[0]

    def read(self, job: JobRecord | str) -> JobRecord:
        job_id = job if isinstance(job, str) else job.id
        found = self.do(self.broker.get([job_id]))
        assert ids(found) == [job_id]
        return found[0]

    def exists(self, job: JobRecord) -> bool:
        return bool(self.do(self.broker.get([job.id])))

    def state(self, job: JobRecord) -> State:
        return self.read(job).state

    def history(self, job: JobRecord) -> list[Attempt]:
        return self.do(self.broker.history(job.id))

    # Workers -----------------------------------------------------------------------------------------

    def register(self, worker: str, lease: float = LEASE) -> None:
        self._registered.add(worker)
        self.do(self.broker.heartbeat([Beat(worker=worker, lease=lease, new=True)]))

    def beat(self, *workers: str, lease: float = LEASE) -> Directives:
        return self.do(self.broker.heartbeat([Beat(worker=worker, lease=lease) for worker in workers]))

    def claim(
        self,
        limit: int = 1,
        *,
        worker: str = "w1",
        queues: tuple[str, ...] = ("default",),
        exclude: tuple[str, ...] = (),
        settling: Sequence[Settlement] = (),
    ) -> list[JobRecord]:
        if worker not in self._registered and self.can(Capability.UPKEEP):
            self.register(worker)
        claim = Claim(worker=worker, queues=queues, limit=limit, exclude=exclude)
        return self.exchange(settling, claim).jobs

    def take(self, worker: str = "w1") -> JobRecord:
        """Claim the one job that is next."""
        found = self.claim(worker=worker) or self.await_claim(1, worker=worker)
        assert len(found) == 1, f"{worker} was given {found}"
        return found[0]

    def await_claim(self, count: int, **claim: Any) -> list[JobRecord]:
        """Claim so many jobs, which a transport may have offered to somebody else before."""
        found: list[JobRecord] = []
        with self.broker.waiter([f"queue:{queue}" for queue in claim.get("queues", ("default",))]) as waiter:
            while len(found := found + self.claim(count - len(found), **claim)) < count:
                if self.can(Capability.ORDER) or not self.woken(waiter):
                    break
        return found

    def settle(self, *settlements: Settlement) -> list[str]:
        """The ids of those that were refused."""
        return self.exchange(settlements, None).lost

    def exchange(self, settlements: Sequence[Settlement], claim: Claim | None) -> Exchange:
        answer = self.do(self.broker.exchange(settlements, claim))
        assert not answer.locked, "nobody else has a transaction open"
        return answer

    def end(self, job: JobRecord, verb: str) -> list[str]:
        """Settle a claimed job in the usual way of that verb."""
        return self.settle(ENDINGS[verb](job, self.clock()))

    def rescue(self, poison_after: int = 3) -> list[Settlement]:
        return self.do(self.broker.rescue(100, poison_after))

    def stage(self, limit: int = 100) -> int:
        return self.do(self.broker.stage(limit)).count

    # Roads to a state --------------------------------------------------------------------------------

    def in_state(self, state: State, **fields: Any) -> JobRecord:
        """A new job, brought to that state."""
        if state is State.SCHEDULED:
            fields["delay"] = 100
        job = self.add(**fields)
        if state not in (State.SCHEDULED, State.QUEUED):
            job = self.claim(queues=(job.queue,))[0]
        verbs = {"succeeded": "succeed", "dead": "die", "cancelled": "cancel", "retrying": "retry"}
        if state in verbs:
            self.end(job, verbs[state])
        elif not self.can(Capability.LOOKUP):
            return job  # nothing has happened to it since
        return self.read(job)


def needs(*capabilities: Capability) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a test that relies on these without asking the broker for anything that it would refuse."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def run(**fixtures: Any) -> None:
            missing = [each for each in capabilities if not fixtures["store"].can(each)]
            if missing:
                pytest.skip(f"declared as missing: {', '.join(missing)}")
            test(**fixtures)

        return run

    return decorate


def gated(test: Callable[..., None]) -> Callable[..., None]:
    """`test`, skipped when it asks the broker for a capability that it declares as missing."""

    @wraps(test)
    def run(**fixtures: Any) -> None:
        try:
            test(**fixtures)
        except NotSupported as error:
            missing = set(Capability) - fixtures["store"].broker.capabilities
            if any(capability in str(error) for capability in missing):
                pytest.skip(f"declared as missing: {error}")
            raise

    return run


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["run", "arun"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner | None]:
    """Every test runs twice: with blocking calls, and on an event loop."""
    if request.param == "run":
        yield None
    else:
        with asyncio.Runner() as runner:
            yield runner


@pytest.fixture
def store(make_broker: MakeBroker, clock: Clock, runner: asyncio.Runner | None) -> Iterator[Store]:
    broker = make_broker(clock)
    yield Store(broker, clock, runner)
    broker.close()


@pytest.fixture
def other(
    store: Store, make_broker: MakeBroker, clock: Clock, runner: asyncio.Runner | None
) -> Iterator[Store]:
    """The same store as another process sees it."""
    broker = make_broker(clock)
    yield Store(broker, clock, runner)
    broker.close()
