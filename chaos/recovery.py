"""How long until work goes on, on each broker: `python -m chaos --measure recovery`.

1. Two nodes with two worker processes each, and nothing else to do.
2. A worker process is killed while it runs a job: until that job runs again.
3. All processes of a node are killed at once while one of them runs a job, as when a machine is lost: until
   that job runs again. Nobody can tell it from a slow network before the lease has passed.
4. The broker is killed while many jobs wait, and started after two seconds: from the moment it answers until
   the first job begins. With a results store both are killed, since while RabbitMQ alone is away work goes on
   from the store. On SQLite there is no server.
"""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec

from backburner import Backburner
from chaos import observe
from chaos.nodes import Place, environment
from chaos.sites import SITES, Site
from chaos.tasks import LEASE
from tests.faults.harness import wait_until

TIMES = 10
PROCESSES = 2
PATIENCE = 60.0
WAITING = 80
BRIEF = 0.5
FEW = ("--concurrency", "2")
"""So that jobs still wait in the broker when it is killed; what a process had claimed is run meanwhile."""
AWAY = 2.0


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, of so many times."""

    broker: str
    what: str
    median: float
    longest: float
    times: int
    aim: float


class Mark(msgspec.Struct, frozen=True):
    """A line that a task wrote when it began."""

    job: str
    token: int
    pid: int
    at: float


class Measure:
    """One broker with two nodes."""

    def __init__(self, site: Site, app: Backburner, places: list[Place], folder: Path) -> None:
        self.site, self.app, self.places, self.folder = site, app, places, folder

    def marks(self, name: str) -> list[Mark]:
        file = self.folder / name
        if not file.exists():
            return []
        lines = [line.split() for line in file.read_text().splitlines()]
        return [Mark(job, int(token), int(pid), float(at)) for job, token, pid, at in lines]

    def child(self) -> float:
        mark = self._running()
        began = time.time()
        os.kill(mark.pid, signal.SIGKILL)
        return self._again(mark) - began

    def machine(self) -> float:
        mark = self._running()
        place = next(each for each in self.places if mark.pid in each.node.pids())
        began = time.time()
        place.vanish()
        return self._again(mark) - began

    def broker(self) -> float:
        self.app.named("chaos.tasks.brief").enqueue_many([(BRIEF,)] * WAITING)
        for server in self.site.servers:
            server.kill()
        time.sleep(AWAY)
        for server in self.site.servers:
            server.start()
        began = time.time()
        found: list[float] = []

        def began_after() -> bool:
            found[:] = [mark.at for mark in self.marks("brief") if mark.at > began]
            return bool(found)

        wait_until(began_after, "a job begins after the restart", PATIENCE)
        wait_until(lambda: self.site.backlog(self.app) == 0, "the others are done", PATIENCE)
        return min(found) - began

    def wait_serving(self) -> None:
        for place in self.places:
            wait_until(partial(is_whole, place), "both processes serve", PATIENCE)

    def _running(self) -> Mark:
        """A job that runs, and will not end by itself."""
        self.wait_serving()
        job = self.app.enqueue("chaos.tasks.hold")
        return self._mark(lambda mark: mark.job == job.id)

    def _again(self, before: Mark) -> float:
        return self._mark(lambda mark: mark.job == before.job and mark.pid != before.pid).at

    def _mark(self, wanted: Callable[[Mark], bool]) -> Mark:
        found: list[Mark] = []

        def seen() -> bool:
            found[:] = [mark for mark in self.marks("hold") if wanted(mark)]
            return bool(found)

        wait_until(seen, "the job runs", PATIENCE)
        return found[0]


def is_whole(place: Place) -> bool:
    """Whether each of its worker processes serves."""
    served = {f"-{pid}-" for pid in place.node.pids()}
    lines = [line for line in place.node.said().splitlines() if " serves " in line]
    return len(served) == PROCESSES and all(any(pid in line for line in lines) for pid in served)


def measure(name: str, tell: Callable[[str], None], times: int = TIMES) -> list[Figure]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        site = stack.enter_context(SITES[name](folder))
        app = site.app(observe.Observer(folder, "run"))
        stack.callback(app.close)
        site.prepare(app)
        places: list[Place] = []
        for _ in range(2):
            places.append(Place(folder, environment(site, folder, "worker"), *FEW))
            stack.callback(places[-1].close)
        this = Measure(site, app, places, folder)
        this.wait_serving()
        app.enqueue("chaos.tasks.broken")
        wait_until(lambda: bool(site.dead(app)), "all queues are there", PATIENCE)
        site.settle()
        kinds: dict[str, tuple[Callable[[], float], float]] = {
            "a worker process is killed": (this.child, 1.0),
            "a machine is lost": (this.machine, LEASE + 2.0),
        }
        if site.servers:
            kinds["the broker is restarted"] = (this.broker, 5.0)
        figures = []
        for what, (once, aim) in kinds.items():
            found = list[float]()
            while len(found) < times:
                found.append(once())
                tell(f"{what}: {len(found)} of {times}, {found[-1]:.2f} s")
            figures.append(
                Figure(
                    broker=name,
                    what=what,
                    median=round(statistics.median(found), 2),
                    longest=round(max(found), 2),
                    times=times,
                    aim=aim,
                )
            )
        return figures


def text(figures: list[Figure]) -> str:
    """A table."""
    lines = [
        f"Until its jobs run again, in seconds; lease {LEASE:g} s.",
        "| broker | what | median | longest | times | aim |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {each.broker} | {each.what} | {each.median:.2f} | {each.longest:.2f} | {each.times} "
        f"| < {each.aim:g} |"
        for each in figures
    ]
    return "\n".join([*lines, ""])
