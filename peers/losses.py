"""What each library loses, and runs more than once, when workers and the broker are killed.

1. A broker of the run's own, as durable as it can be; two workers, each with two processes, which are
   started again when they end, as a service manager does it.
2. A producer enqueues numbers one by one. One whose enqueue returned is accepted; one whose enqueue failed
   may be there or not, and counts for nothing. A job leaves its number in a file (`effects.py`).
3. Meanwhile a random process of the workers is killed every second or so, and the broker now and then.
4. After that nothing is broken any more. The run is over when all that was accepted has run, or when nothing
   has run for longer than any timeout of the library. Then all workers are started anew, once: what runs
   after that was stuck, and what does not run then, either, is lost.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import msgspec
import psutil

from peers import effects
from peers.environments import ROOT, interpreter
from peers.systems import System
from peers.workers import Workers
from tests.servers.base import Server
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

START_TIME = 60.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the numbers of one run."""

    accepted: int
    refused: int
    """Enqueues that failed; whether those jobs exist is not known."""
    lost: int
    """Accepted, and never run."""
    stuck: int
    """Accepted, and run only after all workers had been started anew."""
    again: int
    """Run more than once."""
    worker_kills: int
    broker_kills: int
    seconds: float
    """From the last fault to the last job."""


class Run:
    """One library on one broker, and what is done to it. `tell` is given a line now and then."""

    def __init__(
        self,
        system: System,
        server: Server | None,
        folder: Path,
        chance: random.Random,
        tell: Callable[[str], None],
    ) -> None:
        self.system, self.server, self.folder, self.chance, self.tell = system, server, folder, chance, tell
        self.worker_kills = self.broker_kills = 0
        self.stuck = 0

    def read(self, file: str) -> list[int]:
        return effects.read(self.folder, file)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def wait_for_first(self, workers: Workers) -> None:
        end = time.monotonic() + START_TIME
        while not self.read("effects"):
            if time.monotonic() > end:
                raise TimeoutError(f"{self.system.name}: the first job did not run:\n{self.log()}")
            workers.keep()
            time.sleep(0.1)

    def break_things(self, workers: Workers, seconds: float, broker_kills: int) -> None:
        began = time.monotonic()
        due = [began + seconds * (number + 1) / (broker_kills + 1) for number in range(broker_kills)]
        while (now := time.monotonic()) < began + seconds:
            if self.server is not None and due and now >= due[0]:
                due.pop(0)
                self.server.kill()
                time.sleep(self.chance.uniform(0.2, 1.0))
                self.server.start()
                self.broker_kills += 1
            workers.kill_one(self.chance)
            self.worker_kills += 1
            time.sleep(self.chance.uniform(0.5, 1.5))
            workers.keep()
            accepted, ran = len(self.read("accepted")), len({*self.read("effects")})
            self.tell(f"{now - began:.0f} s, {self.worker_kills} kills: {accepted} accepted, {ran} have run")

    def finish(self, workers: Workers) -> None:
        """Wait for the rest."""
        accepted = {*self.read("accepted")}
        last, seen, stuck = time.monotonic(), -1, set[int]()
        while missing := accepted - {*self.read("effects")}:
            workers.keep()
            if len(missing) != seen:
                last, seen = time.monotonic(), len(missing)
            idle = time.monotonic() - last
            self.tell(f"{len(missing)} are missing, idle for {idle:.0f} s")
            if idle > self.system.patience:
                if stuck:
                    break
                stuck, last = missing, time.monotonic()
                workers.end(signal.SIGTERM)
            time.sleep(0.5)
        self.stuck = len(stuck - missing)

    def outcome(self, broken_until: float) -> Outcome:
        """`broken_until` is on `time.time()`."""
        return judge(
            self.read("accepted"),
            self.read("refused"),
            self.read("effects"),
            stuck=self.stuck,
            worker_kills=self.worker_kills,
            broker_kills=self.broker_kills,
            seconds=round(max((self.folder / "effects").stat().st_mtime - broken_until, 0.0), 1),
        )


def judge(
    accepted: Sequence[int],
    refused: Sequence[int],
    ran: Sequence[int],
    *,
    stuck: int,
    worker_kills: int,
    broker_kills: int,
    seconds: float,
) -> Outcome:
    times = Counter(ran)
    return Outcome(
        accepted=len(accepted),
        refused=len(refused),
        lost=len({*accepted} - times.keys()),
        stuck=stuck,
        again=sum(count > 1 for count in times.values()),
        worker_kills=worker_kills,
        broker_kills=broker_kills,
        seconds=seconds,
    )


def measure(
    system: System, seconds: float, broker_kills: int, seed: int, tell: Callable[[str], None]
) -> Outcome:
    """One run. Raises when the library does not start at all."""
    python = interpreter(system.library)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-")))
        url, server = stack.enter_context(_broker(system, folder))
        run = Run(system, server, folder, random.Random(seed), tell)
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            "PEERS_URL": url,
            "RQ_REDIS_URL": url,
            "PEERS_FOLDER": str(folder),
        }
        log = stack.enter_context((folder / "log").open("ab"))
        if system.before:
            subprocess.run(system.before, cwd=ROOT, env=environment, check=True, stdout=log, stderr=log)
        workers = Workers([*system.worker], environment, log)
        stack.callback(workers.end)
        with _producer(system, python, environment, log) as producer:
            run.wait_for_first(workers)
            run.break_things(workers, seconds, broker_kills)
            if producer.poll() is not None:
                raise RuntimeError(f"{system.name}: the producer has ended:\n{run.log()}")
        broken_until = time.time()
        run.finish(workers)
        return run.outcome(broken_until)


@contextmanager
def _producer(
    system: System, python: Path, environment: dict[str, str], log: IO[bytes]
) -> Iterator[psutil.Popen]:
    command = [str(python), "-m", "peers.produce", system.module]
    process = psutil.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        with suppress(psutil.NoSuchProcess):
            process.kill()
        process.wait()


@contextmanager
def _broker(system: System, folder: Path) -> Iterator[tuple[str, Server | None]]:
    """Its URL, and the server that can be killed."""
    if system.broker == "sqlite":
        yield f"sqlite:///{folder}/jobs.db", None
    elif system.broker == "redis":
        with RedisServer() as redis:
            yield redis.url, redis
    elif system.broker == "postgres":
        with PostgresServer() as postgres:
            yield postgres.url(), postgres
    else:
        with RabbitServer() as rabbit:
            yield rabbit.url, rabbit
