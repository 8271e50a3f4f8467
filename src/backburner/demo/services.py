"""The two programs of the demo: the web application and the worker.

1. Each runs in a session of its own, so that Ctrl-C reaches the demo alone, which then stops them in order.
2. The web application inherits a socket that listens already: no port is guessed, and no start is waited for.
3. Whatever ends the demo, both are told to stop, and killed with all their children if they do not.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from backburner.errors import BackburnerError

PROCESSES = 2
STOP_SECONDS = 15.0


class DemoError(BackburnerError):
    """The demo cannot go on."""


class Services:
    """The programs of the avatar example, with their data in `folder`, until the `with` block ends.

    `settings` are the example's environment variables.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.broker = f"sqlite:///{folder / 'jobs.db'}"
        self.url = ""
        """Of the web page, once it is started."""
        self._environment = {
            **os.environ,
            **settings,
            "AVATARS_DATA": str(folder),
            "BACKBURNER_URL": self.broker,
            "PYTHONUNBUFFERED": "1",
        }
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Services:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, process in reversed(self._running):
            _stop(process)

    def start_web(self, port: int = 0) -> None:
        """Serve the web application; port 0 takes a free one. Raises `DemoError` when the port is taken."""
        with _listen(port) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            fd = listener.fileno()
            options = ["--no-access-log", "--timeout-graceful-shutdown", "2"]
            self._start("web", "uvicorn", "avatars.web:site", "--fd", str(fd), *options, fds=[fd])

    def start_worker(self, workers: int) -> None:
        """Run `workers` jobs at a time, on two processes with half of them each."""
        processes = min(PROCESSES, workers)
        size = ["--processes", str(processes), "--threads", str(-(-workers // processes))]
        self._start("worker", "backburner", "worker", "avatars.tasks:app", "--queues", "images", *size)

    def check(self) -> None:
        """Raise `DemoError`, with the end of its log, when one of them has stopped by itself."""
        for name, process in self._running:
            if process.poll() is not None:
                log = (self.folder / f"{name}.log").read_text(errors="replace")
                tail = "\n".join(log.splitlines()[-20:])
                raise DemoError(f"the {name} stopped with exit code {process.returncode}; it said:\n{tail}")

    def _start(self, name: str, *arguments: str, fds: Sequence[int] = ()) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=example_folder().parent,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=fds,
            )
        self._running.append((name, process))


def example_folder() -> Path:
    """Find the example: beside this file when installed, in `examples/` in a checkout."""
    here = Path(__file__).parent
    places = [here / "avatars", here.parents[2] / "examples" / "avatars"]
    for place in places:
        if (place / "web.py").is_file():
            return place
    raise DemoError(f"the example is not installed: looked in {' and '.join(map(str, places))}")


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Uvicorn takes an inherited socket for a Unix one and leaves Nagle's algorithm on, which holds each
    # answer back for 40 ms. Accepted connections inherit the option.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError as error:
        listener.close()
        raise DemoError(
            f"port {port} cannot be used ({error.strerror}); choose another with --port"
        ) from None
    listener.listen(128)
    return listener


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its session is its process group: the children go with it
        process.wait()
