"""One run on one broker.

1. A server of its own, a supervisor with two worker processes, and the load, each a process of its own.
2. Every few seconds: what the processes hold, what is in the broker, what the load has seen.
3. At the end the load stops and the backlog is worked off.
4. The verdict is on the samples (`verdict.py`); a worker process that was replaced, an error that the load
   has met, and jobs that are left fail the run as well.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
import psutil

from backburner import Backburner, State
from soak import processes, stores
from soak.seen import PATIENCE as RESULT_PATIENCE
from soak.seen import Reader
from soak.settings import Settings
from soak.verdict import Finding, Point, Series, judge
from tests.faults.harness import Node, node

ROOT = Path(__file__).parent.parent
WORKERS = 2
PATIENCE = 60.0
"""Seconds that the backlog may take to be worked off."""
OPTIONS = (f"--processes={WORKERS}", "--concurrency=20", "--threads=4", "--cpu-processes=1")
WAITING = (State.QUEUED, State.SCHEDULED, State.RETRYING, State.RUNNING)
Samples = dict[Series, list[Point]]


class Outcome(NamedTuple):
    """What a run gave; `troubles` are those that are no trend, for people."""

    broker: str
    settings: Settings
    samples: Samples
    findings: list[Finding]
    troubles: list[str]
    sent: int
    revived: int

    @property
    def passed(self) -> bool:
        return not self.troubles and not any(finding.grows for finding in self.findings)


class Watch:
    """Takes the samples of a run."""

    def __init__(
        self, app: Backburner, store: stores.Store, node: Node, producer: psutil.Popen, folder: Path
    ) -> None:
        self.app, self.store = app, store
        self.began = time.monotonic()
        self.workers = sorted(node.children(), key=lambda each: each.pid)
        self.processes: dict[str, psutil.Process] = {
            "supervisor": psutil.Process(node.process.pid),
            **{f"worker {number}": each for number, each in enumerate(self.workers, 1)},
            "producer": producer,
        }
        self.samples: Samples = {}
        self.sent = self.failed = self.revived = 0
        self.first_error = ""
        self._reader = Reader(folder)

    def sample(self) -> None:
        counts = self.app.inspector.counts()
        seen = self._reader.read()
        self.sent += seen.sent
        self.failed += seen.failed
        self.first_error = self.first_error or next(iter(seen.errors), "")
        self.revived += seen.revived
        values = {
            **dict(processes.measure_all(self.processes)),
            **self.store.measure(),
            Series("jobs", "backlog"): float(sum(counts.get(state, 0) for state in WAITING)),
            Series("jobs", "jobs"): float(sum(counts.values())),
            Series("machine", "load"): os.getloadavg()[0],  # not judged: it explains a latency that grows
        }
        for what, times in (("pick-up", seen.pick_ups), ("result", seen.ends)):
            for percent in (50, 99):
                if times:
                    values[Series("jobs", f"{what} p{percent}")] = 1000 * quantile(times, percent / 100)
        at = time.monotonic() - self.began
        for series, value in values.items():
            self.samples.setdefault(series, []).append(Point(round(at, 2), value))

    def last(self, whose: str, what: str) -> float:
        points = self.samples.get(Series(whose, what))
        return points[-1].value if points else 0.0

    def line(self) -> str:
        late = self.last("jobs", "pick-up p99")
        memory = sum(self.last(whose, "memory") for whose in self.processes if whose != "producer")
        return (
            f"{time.monotonic() - self.began:.0f} s: {self.sent} jobs, {memory:.0f} MB, "
            f"backlog {self.last('jobs', 'backlog'):.0f}, pick-up p99 {late:.0f} ms"
        )


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def soak(broker: str, settings: Settings, tell: Callable[[str], None]) -> Outcome:
    with TemporaryDirectory(prefix="soak-") as name, stores.running(broker, Path(name)) as store:
        folder = Path(name)
        settings = msgspec.structs.replace(settings, url=store.url, results=store.results, folder=name)
        environment = {"PYTHONPATH": str(ROOT), **settings.environment()}
        app = Backburner(store.url, results=store.results, keep_finished=settings.retention)
        app.broker.migrate()
        with node(folder, *OPTIONS, app="soak.tasks:app", environment=environment) as workers:
            workers.wait_ready(WORKERS)
            with _producer(folder, environment) as producer:
                watch = Watch(app, store, workers, producer, folder)
                while time.monotonic() < watch.began + settings.seconds:
                    time.sleep(settings.interval)
                    watch.sample()
                    tell(watch.line())
                troubles = _alive(watch, workers, producer, folder)
            troubles += _left(app, tell)
        app.close()
    if watch.failed:
        troubles.append(f"{watch.failed} enqueues or results failed, the first with {watch.first_error}")
    if not watch.revived:
        troubles.append("no dead letter was revived: the run is too short, or jobs do not die")
    findings = judge(watch.samples, settings.warm_up, settings.stored_warm_up)
    return Outcome(broker, settings, watch.samples, findings, troubles, watch.sent, watch.revived)


@contextmanager
def _producer(folder: Path, environment: dict[str, str]) -> Iterator[psutil.Popen]:
    with (folder / "load.log").open("wb") as log:
        process = psutil.Popen(
            [sys.executable, "-m", "soak.load"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(RESULT_PATIENCE + 5.0)
            except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
                process.kill()
                process.wait()


def _alive(watch: Watch, workers: Node, producer: psutil.Popen, folder: Path) -> list[str]:
    troubles = []
    if workers.pids() != {each.pid for each in watch.workers}:
        troubles.append(f"a worker process was replaced: {workers.said()[-2000:]}")
    if producer.poll() is not None:
        said = (folder / "load.log").read_text()[-2000:]
        troubles.append(f"the load has ended with code {producer.returncode}: {said}")
    return troubles


def _left(app: Backburner, tell: Callable[[str], None]) -> list[str]:
    """Jobs that do not end; the newest job of the periodic task may be among those that run."""
    end = time.monotonic() + PATIENCE
    while (left := _unfinished(app)) and time.monotonic() < end:
        tell(f"{left} jobs are left")
        time.sleep(0.2)
    return [f"{left} jobs have not ended {PATIENCE:.0f} s after the load: backburner explain"] if left else []


def _unfinished(app: Backburner) -> int:
    counts = app.inspector.counts()
    return sum(counts.get(state, 0) for state in WAITING)
