"""A real worker, `backburner worker`, under measurement: a supervisor and one worker process."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

ROOT = Path(__file__).parent.parent
START_TIME = 30.0
POLL = 0.25


class Running(NamedTuple):
    """A worker that claims jobs since `ready_at`, on `time.time()`."""

    supervisor: psutil.Process
    process: psutil.Process
    ready_at: float


@contextmanager
def worker(database: Path, *, concurrency: int = 100, threads: int = 8) -> Iterator[Running]:
    """Run a worker on the jobs in `database` until the context ends."""
    options = [f"--concurrency={concurrency}", f"--threads={threads}"]
    command = [sys.executable, "-m", "backburner", "worker", "bench.tasks:app", *options]
    # It says when it is ready as it says it to systemd.
    with tempfile.TemporaryFile() as log, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind("")  # a free name that Linux chooses, in the namespace that is no file
        notified.settimeout(POLL)
        name: bytes = notified.getsockname()
        environment = {
            **os.environ,
            "BACKBURNER_URL": f"sqlite:///{database}",
            "NOTIFY_SOCKET": f"@{name[1:].decode()}",
        }
        supervisor = psutil.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            _wait_until_ready(supervisor, notified)
            ready_at = time.time()
            (process,) = supervisor.children()
            yield Running(supervisor, process, ready_at)
        except BaseException:
            log.seek(0)
            sys.stderr.buffer.write(log.read())
            raise
        finally:
            supervisor.terminate()
            try:
                supervisor.wait(START_TIME)
            except psutil.TimeoutExpired:
                supervisor.kill()
                supervisor.wait()


def _wait_until_ready(supervisor: psutil.Popen, notified: socket.socket) -> None:
    end = time.monotonic() + START_TIME
    while time.monotonic() < end and supervisor.poll() is None:
        with suppress(TimeoutError):
            if b"READY=1" in notified.recv(4096):
                return
    raise RuntimeError("the worker did not start; its log is above")
