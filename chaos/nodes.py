"""The processes of a run: nodes (a supervisor with its workers) and producers, kept running as a service
manager does it.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from tests.faults.harness import Node

ROOT = Path(__file__).parent.parent
OPTIONS = ("--processes=2", "--concurrency=20", "--threads=4", "--cpu-processes=1", "--grace=5")


class Nodes:
    """`count` nodes and one producer."""

    def __init__(
        self, folder: Path, count: int, environment: Mapping[str, str], seed: int, rate: float
    ) -> None:
        self._folder = folder
        self._count = count
        self._environment = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
        self._produce = [sys.executable, "-m", "chaos.produce", str(seed), str(rate)]
        self._producer: psutil.Popen | None = None
        self._log = (folder / "producer.log").open("ab")
        self.running: list[Node] = []
        self.frozen: dict[Node, float] = {}
        """Until when, on `time.monotonic()`."""
        self.producing = True

    def keep(self) -> None:
        """Start what is missing, and thaw what has stood still for long enough."""
        for node, until in [*self.frozen.items()]:
            if time.monotonic() > until:
                node.thaw()
                del self.frozen[node]
        for node in [*self.running]:
            if node.process.poll() is not None:
                node.end()
                self.running.remove(node)
        while len(self.running) < self._count:
            self.running.append(
                Node(self._folder, *OPTIONS, app="chaos.app:app", environment=self._environment)
            )
        if self.producing and (self._producer is None or self._producer.poll() is not None):
            self._producer = psutil.Popen(
                self._produce, cwd=ROOT, env=self._environment, stdout=self._log, stderr=self._log
            )

    def awake(self, chance: random.Random) -> Node | None:
        """One of the nodes that do not stand still."""
        found = [node for node in self.running if node not in self.frozen and node.process.poll() is None]
        return chance.choice(found) if found else None

    def kill_producer(self) -> None:
        if self._producer is not None:
            with suppress(psutil.NoSuchProcess):
                self._producer.kill()
            self._producer.wait()

    def stop_producing(self) -> None:
        self.producing = False
        self.kill_producer()

    def calm(self) -> None:
        """Thaw all."""
        for node in self.frozen:
            node.thaw()
        self.frozen.clear()

    def stop(self) -> list[int]:
        """End the nodes as an operator does; their exit codes."""
        for node in self.running:
            node.process.terminate()
        codes = []
        for node in self.running:
            try:
                codes.append(node.process.wait(60.0))
            except subprocess.TimeoutExpired:
                codes.append(-1)
        return codes

    def end(self) -> None:
        self.stop_producing()
        for node in self.running:
            node.end()
        self._log.close()

    def logs(self) -> str:
        paths = sorted(self._folder.glob("node-*.log"), key=lambda path: path.stat().st_mtime)
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in paths[-3:])
