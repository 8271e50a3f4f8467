"""One system on one fresh broker, as a measure sees it: enqueue, run a worker, count what ran."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil

from bench.catalog import System
from bench.figures import Description
from bench.places import Place, Places
from bench.systems import jobs
from bench.tally import Counted, Tally
from peers.environments import ROOT, interpreter
from peers.workers import end_session

PATIENCE = 60.0
"""Seconds without a job that ran after which a measurement has failed."""
ANSWER = 600.0
"""Seconds that one call of an adapter may take."""
GRACE = 10.0
LOOK = 0.01


class Failed(Exception):
    """A system did not do what was measured; the message has the end of its log."""


class Running(NamedTuple):
    """A worker."""

    process: psutil.Popen
    began: float
    """When it was started, on `time.time()`."""

    def family(self) -> list[psutil.Process]:
        """Without our own process that starts several where a library has only one."""
        ours = "bench.systems" in self.process.cmdline()
        return [*([] if ours else [self.process]), *self.process.children(recursive=True)]


class Subject:
    """Its commands run in its own environment; `folder` is where jobs leave their traces."""

    def __init__(self, system: System, place: Place, folder: Path, about: Description) -> None:
        self.system, self.place, self.folder = system, place, folder
        self.log = folder / "log"
        self.tally = Tally(folder / "tally")
        self.about = about
        self.sent = 0
        self.ask("prepare")

    @property
    def kind(self) -> str:
        """What its jobs are when nothing is said: coroutines where it has them."""
        return self.about.kinds[0]

    def ask(self, command: str, *options: str, results: bool = False) -> Any:
        return _ask(self.system, self._environment(results), command, *options)

    def enqueue(
        self,
        how: str,
        count: int,
        *,
        kind: str | None = None,
        job: str = "noop",
        rate: float | None = None,
    ) -> float:
        """So many jobs; how many a second."""
        options = [f"--how={how}", f"--kind={kind or self.kind}", f"--job={job}", f"--count={count}"]
        options += [f"--rate={rate}"] if rate else []
        said = self.ask("enqueue", *options, results="awaited" in how)
        self.sent += count
        jobs_a_second: float = said["jobs"] / said["seconds"]
        return jobs_a_second

    def fill(self, count: int, *, kind: str | None = None, job: str = "noop") -> None:
        """The same, in the fastest way."""
        how = self.about.first("bulk", "async-bulk", "together", "threads", "single", "async")
        assert how is not None
        self.enqueue(how, count, kind=kind, job=job)

    @contextmanager
    def worker(
        self,
        kind: str | None = None,
        concurrency: int | None = None,
        processes: int | None = None,
        *,
        results: bool = False,
    ) -> Iterator[Running]:
        """At its best load where nothing is said. It ends with the context."""
        options = [f"--kind={kind or self.kind}"]
        options += [f"--concurrency={concurrency}"] if concurrency else []
        options += [f"--processes={processes}"] if processes else []
        with self.log.open("ab") as log:
            process = psutil.Popen(
                _command(self.system, "worker", *options),
                cwd=ROOT,
                env=self._environment(results),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            running = Running(process, time.time())
            try:
                yield running
            finally:
                _end(process)

    def wait(self, running: Running, count: int | None = None, limit: float | None = None) -> Counted:
        """Until so many jobs, or all that were sent, have run; or, if any have, for so many seconds."""
        wanted = self.sent if count is None else count
        seen, since = -1, (called := time.monotonic())
        while (counted := self.tally.read()).jobs < wanted:
            if limit is not None and counted.jobs and time.monotonic() - called > limit:
                break
            if counted.jobs > seen:
                seen, since = counted.jobs, time.monotonic()
            if time.monotonic() - since > PATIENCE or running.process.poll() is not None:
                raise Failed(f"{counted.jobs} of {wanted} jobs ran\n{self._said()}")
            time.sleep(LOOK)
        return counted

    def delays(self) -> list[float]:
        """Seconds from an enqueue to its job's start, of the jobs that note it."""
        return jobs.delays(self.folder)

    def _said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def _environment(self, results: bool) -> dict[str, str]:
        return {
            **_environment(self.place.url),
            "BENCH_FOLDER": str(self.folder),
            "BENCH_RESULTS": "1" if results else "",
        }


@contextmanager
def subject(system: System, about: Description, places: Places) -> Iterator[Subject]:
    with places.fresh(system.broker) as place, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Subject(system, place, Path(folder), about)


def describe(system: System) -> Description:
    """Without a broker: adapters connect when they enqueue."""
    nowhere = f"{NOWHERE[system.broker]}nowhere"
    return msgspec.convert(_ask(system, _environment(nowhere), "describe"), Description)


NOWHERE = {"sqlite": "sqlite:///", "redis": "redis://", "postgres": "postgresql://", "rabbitmq": "amqp://"}


def _ask(system: System, environment: dict[str, str], command: str, *options: str) -> Any:
    try:
        done = subprocess.run(
            _command(system, command, *options),
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=ANSWER,
        )
    except subprocess.TimeoutExpired:
        raise Failed(
            f"{system.name}: {command} {' '.join(options)} took longer than {ANSWER:.0f} s"
        ) from None
    if done.returncode:
        raise Failed(f"{command} {' '.join(options)}\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _command(system: System, command: str, *options: str) -> list[str]:
    python = str(interpreter(system.library))
    return [python, "-m", "bench.systems", system.library, command, *options]


def _environment(url: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "BENCH_URL": url}


def _end(process: psutil.Popen) -> None:
    """Ask it to, and after a while end all that it has started."""
    try:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
        psutil.wait_procs([process], timeout=GRACE)
    finally:  # Ctrl-C, too, may come just here
        end_session(process.pid)
