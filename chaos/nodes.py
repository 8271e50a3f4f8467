"""The processes of a run, and what is done to them: nodes with worker processes, and a producer.

A place keeps one node running, as a service manager does: what ended is started again.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

from chaos.sites import Site
from chaos.tasks import LEASE
from tests.faults.harness import Node

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = ("--processes", "2", "--threads", "4", "--cpu-processes", "1", "--grace", "4")
GRACE = 60.0
"""What a service manager gives a node to stop: `docs/workers.md`, systemd."""


def environment(site: Site, folder: Path, role: str) -> dict[str, str]:
    results = {"CHAOS_RESULTS": site.through.results} if site.through.results else {}
    return {
        "PYTHONPATH": str(ROOT),
        "CHAOS_URL": site.through.url,
        "CHAOS_FOLDER": str(folder),
        "CHAOS_ROLE": role,
        **results,
    }


class Place:
    """Where one node runs. Who does something to it holds `lock`."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *options: str) -> None:
        self._options = (*OPTIONS, *options)
        self.lock = threading.Lock()
        self.ended: list[str] = []
        """What those nodes said that ended by themselves."""
        self._folder, self._environment = folder, environment
        self._past: list[Node] = []
        self._served = 0
        self.node = self._start()

    def _start(self) -> Node:
        return Node(self._folder, *self._options, app="chaos.tasks:app", environment=self._environment)

    def keep(self) -> None:
        """Start a node that ended by itself again."""
        with self.lock:
            code = self.node.process.poll()
            if code is not None:
                self.ended.append(f"exit code {code}:\n{self.node.said()[-2000:]}")
                self._replace()

    def kill_one(self, chance: random.Random) -> bool:
        """SIGKILL for a worker process or a process of its own; False if there is none."""
        with self.lock:
            with suppress(psutil.NoSuchProcess, IndexError):
                workers = set(self.node.children())
                theirs = {each for worker in workers for each in worker.children(recursive=True)}
                victim = chance.choice(sorted(workers | theirs, key=lambda each: each.pid))
                if victim in workers:
                    self._served = self._serves()
                victim.kill()
                return True
            return False

    def kill_fork_server(self) -> bool:
        """The node ends by itself then; False if it has none yet."""
        with self.lock:
            try:
                self.node.fork_server().kill()
            except (psutil.NoSuchProcess, ValueError):
                return False
            self._wait()
            self._replace()
            return True

    def kill_supervisor(self) -> bool:
        with self.lock:
            self.node.family()
            self.node.process.kill()
            self.node.process.wait()
            self._replace()
            return True

    def vanish(self) -> bool:
        """All of its processes at once: none sees another one go."""
        with self.lock:
            self.node.vanish()
            self.node.process.wait()
            self._replace()
            return True

    def freeze(self, seconds: float) -> bool:
        with self.lock:
            self.node.freeze()
            time.sleep(seconds)
            self.node.thaw()
            return True

    def deploy(self) -> bool:
        """Stop it in good order, and start another; False if it had to be killed."""
        with self.lock:
            self.node.process.terminate()
            self._wait()
            self._replace()
            return True

    def _wait(self) -> None:
        """Until the node has ended by itself."""
        try:
            self.node.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.node.vanish()
            self.ended.append(f"not stopped within {GRACE:g} s:\n{self.node.said()[-2000:]}")

    def stop(self) -> int:
        """In good order, for good; the exit code."""
        with self.lock:
            return self.node.stop()

    def serving(self) -> bool:
        """Whether a worker process has begun to serve since one was killed: the next kill meets work."""
        return self._serves() > self._served

    def _serves(self) -> int:
        return self.node.said().count(" serves ")

    def _replace(self) -> None:
        self._past.append(self.node)
        self._served = 0
        self.node = self._start()

    def replace_killed(self) -> None:
        """Somebody who holds the lock has killed it."""
        self.node.process.wait()
        self._replace()

    def close(self) -> None:
        for each in (*self._past, self.node):
            each.end()


class Producer:
    """A process of `chaos.load`, started again when it ends."""

    def __init__(self, folder: Path, seed: int, environment: Mapping[str, str]) -> None:
        self._command = [sys.executable, "-m", "chaos.load", str(seed)]
        self._environment = {**os.environ, **environment}
        self._folder = folder
        self.lock = threading.Lock()
        self.stopped = False
        self.process = self.start()

    def start(self) -> psutil.Popen:
        with (self._folder / "producer.log").open("ab") as log:
            return psutil.Popen(
                self._command, cwd=self._folder, env=self._environment, stdout=log, stderr=log
            )

    def keep(self) -> None:
        with self.lock:
            if self.process.poll() is not None and not self.stopped:
                self.process = self.start()

    def kill(self) -> bool:
        with self.lock:
            self.process.kill()
            self.process.wait()
            self.process = self.start()
            return True

    def stop(self) -> None:
        with self.lock:
            self.stopped = True
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(GRACE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Fleet:
    """All processes of a run."""

    def __init__(self, places: Sequence[Place], producer: Producer) -> None:
        self.places, self.producer = places, producer

    def keep(self) -> None:
        for place in self.places:
            if place.lock.acquire(blocking=False):  # else somebody is doing something to it
                place.lock.release()
                place.keep()
        if self.producer.lock.acquire(blocking=False):
            self.producer.lock.release()
            self.producer.keep()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Everything stands still meanwhile; who kills it in there calls `killed`."""
        with ExitStack() as stack:
            for lock in (*(place.lock for place in self.places), self.producer.lock):
                stack.enter_context(lock)
            self.producer.process.suspend()
            for place in self.places:
                place.node.freeze()
            try:
                yield
            finally:
                for place in self.places:
                    place.node.thaw()
                with suppress(psutil.NoSuchProcess):
                    self.producer.process.resume()

    def kill_all(self) -> None:
        """Inside of `frozen`."""
        self.producer.process.kill()
        self.producer.process.wait()
        for place in self.places:
            place.node.vanish()
            place.replace_killed()
        self.producer.process = self.producer.start()


@contextmanager
def fleet(site: Site, folder: Path, nodes: int, seed: int) -> Iterator[Fleet]:
    with ExitStack() as stack:
        places = []
        for _ in range(nodes):
            places.append(Place(folder, environment(site, folder, "worker")))
            stack.callback(places[-1].close)
        producer = Producer(folder, seed, environment(site, folder, "producer"))
        stack.callback(producer.close)
        yield Fleet(places, producer)


LONGER_THAN_THE_LEASE = (LEASE + 1.0, LEASE + 3.0)
