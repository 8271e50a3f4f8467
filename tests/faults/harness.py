"""Real worker processes for the fault tests: started here, watched here, and ended here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from backburner import Backburner, State
from backburner.brokers.base import Filter
from backburner.job import JobRecord

TASKS = Path(__file__).with_name("fault_tasks.py")
PATIENCE = 60.0


def wait_until(true: Callable[[], bool], what: str, patience: float = PATIENCE) -> float:
    """Look until it is so; how many seconds that took."""
    began = time.monotonic()
    while not true():
        if time.monotonic() - began > patience:
            raise AssertionError(f"not within {patience:g} s: {what}")
        time.sleep(0.01)  # between two looks at another process, which sends no signal
    return time.monotonic() - began


class Node:
    """A supervisor with its worker processes, running `fault_tasks:app` in `folder`."""

    def __init__(self, folder: Path, *options: str, settings: str = "") -> None:
        self.folder = folder
        self.log = folder / f"node-{time.monotonic_ns()}.log"
        environment = {
            **os.environ,
            "PYTHONPATH": str(TASKS.parent),
            "FAULTS_FOLDER": str(folder),
            "FAULTS_SETTINGS": settings,
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "backburner", "worker", "fault_tasks:app", *options],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
            )

    def children(self) -> list[psutil.Process]:
        """The worker processes, without the processes of their own."""
        try:
            return [child for child in psutil.Process(self.process.pid).children() if child.is_running()]
        except psutil.NoSuchProcess:
            return []

    def wait_ready(self, workers: int = 1) -> None:
        wait_until(
            lambda: self.said().count(" serves ") >= workers or self.process.poll() is not None,
            "the workers start",
        )
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        return self.log.read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it as an operator would; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def node(folder: Path, *options: str, settings: str = "") -> Iterator[Node]:
    """A running node, ended with its whole family when the test is done."""
    running = Node(folder, *options, settings=settings)
    try:
        yield running
    finally:
        children = running.children()
        for pid in (running.process.pid, *(child.pid for child in children)):
            with_resume(pid)
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait()
        psutil.wait_procs(children, timeout=10)


def with_resume(pid: int) -> None:
    """Let a stopped process go on, so that it can end."""
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return


def effects(folder: Path) -> Counter[str]:
    """How often each job's effect happened, by the job's id."""
    file = folder / "effects.txt"
    return Counter(file.read_text().split()) if file.exists() else Counter()


def stored(app: Backburner) -> list[JobRecord]:
    return app.broker.run(app.broker.find(Filter(limit=1_000_000)))


def unfinished(app: Backburner) -> int:
    """Jobs that are not final yet."""
    queues = app.broker.run(app.broker.queues())
    left = (State.QUEUED, State.SCHEDULED, State.RETRYING, State.RUNNING)
    return sum(queue.counts.get(state, 0) for queue in queues for state in left)
