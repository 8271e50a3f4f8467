"""The exchanges of one worker with its broker, one at a time, each until it goes through.

1. An exchange that fails is tried again, later and later.
2. It may have been done, and only its answer lost, or be done late: so the broker is asked first what of it
   was, and again after a while (`LOOK_AGAIN`).
3. One that is under way is not called off with the worker: an answer that nobody hears would leave claimed
   jobs with nobody to run them. Only a worker that has to end gives it up.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, TypeVar

from backburner import ambient
from backburner.brokers.base import Claim, Exchange, Operation
from backburner.brokers.shield import shielded
from backburner.errors import BrokerError, BrokerUnavailable
from backburner.events import BrokerDown, BrokerUp
from backburner.lifecycle import State

if TYPE_CHECKING:
    from backburner.app import Backburner
    from backburner.lifecycle import Settlement

T = TypeVar("T")
LOOK_AGAIN = (2.0, 15.0, 120.0)
"""Seconds after a lost answer: what stands in front of a server that froze is carried out when it goes on."""


class Exchanges:
    """Settles and claims. `known` gives the ids of the jobs that the worker has in hand; `hopeless` says
    whether it may wait for the broker no longer.
    """

    def __init__(
        self, app: Backburner, known: Callable[[], Collection[str]], hopeless: Callable[[], bool]
    ) -> None:
        self._app = app
        self._known = known
        self._hopeless = hopeless
        self.connected = True
        self.seconds = 0.0
        """What the last one took that went through."""
        self._looks = list[float]()
        self._asking: asyncio.Future[Any] | None = None
        self._gave_up = False

    def doubtful(self) -> bool:
        """Whether it is time to look again what became of an exchange without an answer."""
        return bool(self._looks) and self._looks[0] <= ambient.monotonic()

    async def perform(self, worker: str, settlements: list[Settlement], claim: Claim | None) -> Exchange:
        """Settle and claim, however long that takes. When it is hopeless everything counts as lost."""
        pause, unanswered = 0.05, self.doubtful()
        if unanswered:
            self._looks.pop(0)
        while True:
            began = ambient.monotonic()
            try:
                if unanswered:
                    exchange = await self._the_rest(worker, settlements, claim)
                else:
                    exchange = await self._ask(self._app.broker.exchange(settlements, claim))
            except BrokerError as error:
                unanswered = True
                self._looks = [ambient.monotonic() + seconds for seconds in LOOK_AGAIN]
                self._failed(error)
                if self._hopeless():
                    # Nothing was recorded: the leases run out, and others get the jobs.
                    return Exchange([], [each.job.id for each in settlements])
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, 2.0)
                continue
            self._went_through()
            self.seconds = ambient.monotonic() - began
            return exchange

    async def committed(self, completions: list[Settlement]) -> list[Settlement]:
        """Those whose jobs have succeeded at their claims, however long it takes to learn. A job that is not
        there any more was final. When it is hopeless, none.
        """
        pause = 0.05
        while True:
            try:
                found = await self._ask(self._app.broker.get([each.job.id for each in completions]))
            except BrokerError as error:
                self._failed(error)
                if self._hopeless():
                    return []
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(pause * 2, 2.0)
                continue
            self._went_through()
            stored = {job.id: (job.state, job.token) for job in found}
            return [
                each
                for each in completions
                if stored.get(each.job.id) in (None, (State.SUCCEEDED, each.job.token))
            ]

    def _failed(self, error: BrokerError) -> None:
        if self.connected:
            self.connected = False
            self._app.events.emit(BrokerDown(error=str(error)))

    def _went_through(self) -> None:
        if not self.connected:
            self.connected = True
            self._app.events.emit(BrokerUp())

    def give_up(self) -> None:
        """For now: it has something to record, and the broker does not answer."""
        if self._asking is not None:
            self._gave_up = True
            self._asking.cancel()
            asyncio.get_running_loop().call_later(1.0, self.give_up)

    def close(self) -> None:
        self._asking = None

    async def _ask(self, operation: Operation[T]) -> T:
        self._gave_up = False
        self._asking = answer = shielded(asyncio.ensure_future(self._app.broker.arun(operation)))
        try:
            return await answer
        except asyncio.CancelledError:
            if not self._gave_up:
                raise
            raise BrokerUnavailable from None

    async def _the_rest(self, worker: str, settlements: list[Settlement], claim: Claim | None) -> Exchange:
        """The exchange, without what was done of it when its answer was lost."""
        broker = self._app.broker
        known = {*self._known(), *(each.job.id for each in settlements)}
        found = await self._ask(broker.recover(worker, settlements, known))
        done = set(map(id, found.applied))
        rest = [each for each in settlements if id(each) not in done]
        if found.jobs:
            claim = None
        elif not rest and claim is None:
            return Exchange([], [])
        exchange = await self._ask(broker.exchange(rest, claim))
        return Exchange([*found.jobs, *exchange.jobs], exchange.lost)
