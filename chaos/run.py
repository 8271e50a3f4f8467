"""One run on one broker, from the first job to the verdict.

1. A broker of its own, two nodes with two worker processes each, and a producer, all as real processes.
2. One job of every kind is run first, so that all tables and queues are there. From then on faults are
   allowed, in lanes beside each other (`faults.py`), and what ends is started again.
3. When the time is over the faults stop, the producer stops, and the backlog is drained.
4. Everything that anybody saw, and everything that is stored, goes to the one judge (`tests/oracle.py`).
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

from backburner import Backburner
from backburner.errors import BrokerError
from chaos import observe
from chaos.faults import BROKER_KILLS, KILLS, Faults, Lane, lanes
from chaos.nodes import Fleet, fleet
from chaos.report import Outcome
from chaos.sites import SITES, Site
from chaos.verdict import Span, judge

NODES = 2
FULL = 1_500
"""Jobs that wait; beyond these the producer pauses."""
START = 60.0
DRAIN = 180.0
RESTART = 15.0
"""Seconds after which a node is hurt again although nothing has begun to serve there since the last time."""
LOOK = 0.5


class Run:
    """What goes on while things are broken. `tell` is given a line now and then."""

    def __init__(
        self, site: Site, fleet: Fleet, app: Backburner, folder: Path, tell: Callable[[str], None]
    ) -> None:
        self.site, self.fleet, self.app, self.folder, self.tell = site, fleet, app, folder, tell
        self.faults = Faults(site, fleet, app, self.progress)
        self.ended = threading.Event()
        self.backlog = 0

    def progress(self) -> int:
        return observe.written(self.folder, "worker")

    def warm_up(self) -> None:
        """Until every kind of job has run once, and one has died."""
        self._wait(lambda: len(self.site.dead(self.app)) > 0, START, "a job that cannot work is dead")
        self.drain(START)
        self.site.settle()
        (self.folder / "full").unlink()

    def break_things(self, seed: int, seconds: float) -> None:
        chosen = lanes(server=bool(self.site.servers), nodes=len(self.fleet.places), seconds=seconds)
        began = time.monotonic()
        with ThreadPoolExecutor(len(chosen)) as threads:
            running = [threads.submit(self._go, lane, seed) for lane in chosen]
            try:
                while time.monotonic() < began + seconds and not any(each.done() for each in running):
                    self._look(time.monotonic() - began)
                    time.sleep(LOOK)
            finally:
                self.ended.set()
            for each in running:
                each.result()
        for proxy in self.site.proxies:
            proxy.cut_replies(0)
            proxy.cut()  # or an application's own connection waits for ever for an answer that got lost

    def _go(self, lane: Lane, seed: int) -> None:
        chance = random.Random(f"{seed} {lane.name} whom")
        number = lane.name.removeprefix("node ")
        place = self.fleet.places[int(number)] if number.isdigit() else None
        for step in lane.steps(seed):
            if self.ended.wait(step.pause):
                return
            soon = time.monotonic() + RESTART
            while place and not place.serving() and time.monotonic() < soon:
                time.sleep(0.1)
            self.faults.perform(step, chance, place)

    def _look(self, passed: float) -> None:
        self.fleet.keep()
        with suppress(BrokerError, AssertionError):  # it was killed just now: the last number stays
            self.backlog = self.site.backlog(self.app)
        full = self.folder / "full"
        if self.backlog > FULL:
            full.touch()
        else:
            full.unlink(missing_ok=True)
        counts = self.faults.counts
        kills, broker = sum(counts[each] for each in KILLS), sum(counts[each] for each in BROKER_KILLS)
        minutes, seconds = divmod(int(passed), 60)
        self.tell(
            f"{minutes}:{seconds:02} min, {self.progress() / 1e6:.1f} MB seen, {kills} worker kills, "
            f"{broker} broker kills, backlog {self.backlog}"
        )

    def drain(self, patience: float) -> float:
        """Until nothing is left to run; how many seconds that took."""

        def drained() -> bool:
            self.fleet.keep()
            self.backlog = self.site.backlog(self.app)
            self.tell(f"draining, backlog {self.backlog}")
            return self.backlog == 0

        return self._wait(drained, patience, "the backlog is drained")

    def wait_serving(self) -> None:
        """One that was started just now does not know yet how to stop."""
        self._wait(lambda: all(place.serving() for place in self.fleet.places), START, "the nodes serve")

    def _wait(self, true: Callable[[], bool], patience: float, what: str) -> float:
        began = time.monotonic()
        while not true():
            if time.monotonic() - began > patience:
                said = "\n".join(place.node.said()[-3000:] for place in self.fleet.places)
                raise TimeoutError(f"not within {patience:g} s: {what}; {self.backlog} are left\n{said}")
            time.sleep(LOOK)
        return time.monotonic() - began


def run(name: str, seconds: float, seed: int, tell: Callable[[str], None]) -> Outcome:
    """The whole of it. Raises `TimeoutError` when the jobs stand still."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        (folder / "full").touch()
        site = stack.enter_context(SITES[name](folder))
        observer = observe.Observer(folder, "run")
        app = site.app(observer)
        stack.callback(app.close)
        site.prepare(app)
        all_of_them = stack.enter_context(fleet(site, folder, NODES, seed))
        this = Run(site, all_of_them, app, folder, tell)
        this.warm_up()
        began = app.broker.now()
        this.break_things(seed, seconds)
        span = Span(began, app.broker.now())
        all_of_them.producer.stop()
        left = site.backlog(app)
        drained = this.drain(DRAIN)
        this.wait_serving()
        codes = [place.stop() for place in all_of_them.places]
        ended = [said for place in all_of_them.places for said in place.ended]
        ended += [f"exit code {code} of a stop at rest" for code in codes if code]
        found = judge(site, app, observe.read(folder), span)
        return Outcome(
            broker=name,
            settings=site.settings,
            seed=seed,
            seconds=seconds,
            faults={fault.value: count for fault, count in this.faults.counts.items()},
            worker_kills=sum(this.faults.counts[each] for each in KILLS),
            broker_kills=sum(this.faults.counts[each] for each in BROKER_KILLS),
            longest_recovery=round(max(this.faults.recoveries, default=0.0), 2),
            backlog=left,
            drain=round(drained, 1),
            nodes_ended=ended,
            **found,
        )
