"""Real worker processes for the fault tests: started here, watched here, and ended here."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil

from backburner import Backburner, Job, State
from backburner.brokers.base import Filter
from backburner.errors import BrokerUnavailable
from backburner.job import JobRecord
from tests.servers.base import is_still

TASKS = Path(__file__).with_name("fault_tasks.py")
PATIENCE = 45.0  # less than the time limit of a test, so that it can say what it waited for


def wait_until(true: Callable[[], bool], what: str, patience: float = PATIENCE) -> float:
    """Look until it is so; how many seconds that took."""
    began = time.monotonic()
    while not true():
        if time.monotonic() - began > patience:
            raise AssertionError(f"not within {patience:g} s: {what}")
        time.sleep(0.01)  # between two looks at another process, which sends no signal
    return time.monotonic() - began


class Node:
    """A supervisor with its worker processes, running an app in `folder`: `fault_tasks:app` unless told.

    `file_size` is as far as they may write a file, as in `limit_files`.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        app: str = "fault_tasks:app",
        settings: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        file_size: int | None = None,
    ) -> None:
        self.folder = folder
        self.log = folder / f"node-{time.monotonic_ns()}.log"
        self._seen: set[psutil.Process] = set()
        ours = {
            "PYTHONPATH": str(TASKS.parent),
            "PYTHONDONTWRITEBYTECODE": "1",  # two versions of a file within a second would share one
            "FAULTS_FOLDER": str(folder),
            "FAULTS_SETTINGS": json.dumps(settings or {}),
        }
        limit = f'ulimit -S -f {file_size // 1024 if file_size else "unlimited"} && exec "$@"'
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", limit, "bash", sys.executable, "-m", "backburner", "worker", app, *options],
                cwd=folder,
                env={**os.environ, **ours, **(environment or {})},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def family(self) -> set[psutil.Process]:
        """The fork server and the worker processes, with the processes of their own."""
        try:
            found = set(psutil.Process(self.process.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            found = set()
        self._seen |= found
        return found

    def _own(self) -> list[psutil.Process]:
        """The supervisor, if it is there."""
        try:
            return [psutil.Process(self.process.pid)]
        except psutil.NoSuchProcess:
            return []

    def children(self) -> list[psutil.Process]:
        """The worker processes, without the processes of their own."""
        self.family()
        try:
            servers = psutil.Process(self.process.pid).children()
            return [each for server in servers for each in server.children()]
        except psutil.NoSuchProcess:
            return []

    def fork_server(self) -> psutil.Process:
        """The parent of the worker processes."""
        [server] = psutil.Process(self.process.pid).children()
        return server

    def pids(self) -> set[int]:
        return {child.pid for child in self.children()}

    def wait_ready(self, workers: int = 1) -> None:
        """Until so many worker processes have begun to serve since the start."""
        wait_until(
            lambda: self.said().count(" serves ") >= workers or self.process.poll() is not None,
            "the workers start",
        )
        assert self.process.poll() is None, self.said()

    def wait_said(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.said().count(text) >= times, f"the log says {text!r}")

    def said(self) -> str:
        return self.log.read_text()

    def ask(self, page: str) -> tuple[int, dict[str, Any]]:
        """What the health server answers: the code and the body."""
        self.wait_said("health on ")
        found = re.search(r"health on http://127\.0\.0\.1:(\d+)", self.said())
        assert found, self.said()
        connection = HTTPConnection("127.0.0.1", int(found[1]), timeout=PATIENCE)
        try:
            connection.request("GET", page)
            answer = connection.getresponse()
            return answer.status, json.load(answer)
        finally:
            connection.close()

    def freeze(self) -> None:
        """Stop all of its processes where they are, as a machine does that hangs."""
        stopped = set[psutil.Process]()
        while left := {*self._own(), *self.family()} - stopped:  # it may have started another one just now
            for each in left:
                with suppress(psutil.NoSuchProcess):
                    each.suspend()
                wait_until(partial(is_still, each), "the process stands still")
            stopped |= left

    def vanish(self) -> None:
        """End all of its processes at once: none sees another one go."""
        self.freeze()
        for each in (*self._own(), *self._seen):
            with suppress(psutil.NoSuchProcess):
                each.kill()

    def thaw(self) -> None:
        for each in (*self._own(), *self._seen):
            with suppress(psutil.NoSuchProcess):
                each.resume()

    def limit_files(self, size: int | None) -> None:
        """Let its processes write no file beyond `size` bytes; None ends that."""
        for each in (psutil.Process(self.process.pid), *self.family()):
            each.rlimit(
                psutil.RLIMIT_FSIZE,
                (resource.RLIM_INFINITY if size is None else size, resource.RLIM_INFINITY),
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it as an operator would; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def end(self) -> None:
        """End it with its whole family, whatever state they are in."""
        self.family()
        if self.process.poll() is None:
            self.thaw()
            self.process.kill()
        self.process.wait()
        for each in psutil.wait_procs(self._seen, timeout=10)[1]:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(self._seen, timeout=10)


@contextmanager
def node(
    folder: Path,
    *options: str,
    app: str = "fault_tasks:app",
    settings: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    file_size: int | None = None,
) -> Iterator[Node]:
    """A running node, ended with its whole family when the test is done."""
    running = Node(folder, *options, app=app, settings=settings, environment=environment, file_size=file_size)
    try:
        yield running
    finally:
        running.end()


def marks(folder: Path, name: str) -> Counter[str]:
    """How often each job left a mark in that file, by the job's id."""
    file = folder / name
    return Counter(file.read_text().split()) if file.exists() else Counter()


def effects(folder: Path) -> Counter[str]:
    """How often each job's effect happened, by the job's id."""
    return marks(folder, "effects.txt")


def started(folder: Path) -> int:
    """How many times jobs that take a while have begun."""
    return marks(folder, "started.txt").total()


def has_run(folder: Path, count: int) -> bool:
    return effects(folder).total() > count


def open_gate(folder: Path, gate: str = "gate") -> None:
    """Let the jobs end that wait for it."""
    (folder / gate).touch()


def ran_by(job: Job[Any]) -> int:
    """The worker process that has the job, or had it last."""
    return int((job.refresh().record.worker or "").rsplit("-", 2)[1])


def is_everything_done(app: Backburner) -> bool:
    return unfinished(app) == 0


def stored(app: Backburner) -> list[JobRecord]:
    return app.broker.run(app.broker.find(Filter(limit=1_000_000)))


def unfinished(app: Backburner) -> int:
    """Jobs that are not final yet."""
    queues = app.broker.run(app.broker.queues())
    left = (State.QUEUED, State.SCHEDULED, State.RETRYING, State.RUNNING)
    return sum(queue.counts.get(state, 0) for queue in queues for state in left)


def produce(url: str, count: int) -> tuple[list[str], int]:
    """Enqueue so many jobs, one by one and in batches; their ids, and how often the broker gave up."""
    app = Backburner(url)
    task = app.named("fault_tasks.quick")
    returned: list[str] = []
    refused = 0
    while len(returned) < count:
        batch = random.choice([1, 1, 1, 20, 100])
        try:
            returned += [job.id for job in task.enqueue_many([(0.001,)] * min(batch, count - len(returned)))]
        except BrokerUnavailable:  # whether these are stored is not known; others are enqueued instead
            refused += 1
    app.close()
    return returned, refused
