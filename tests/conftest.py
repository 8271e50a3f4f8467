"""What holds for every test."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import psutil
import pytest
from hypothesis import settings

from tests.servers.shared import shared_processes

pytest_plugins = ["tests.servers.fixtures"]

# No deadline for an example: a busy machine is no reason to fail.
settings.register_profile("backburner", settings(), deadline=None)
settings.load_profile("backburner")

# A shell lets what it starts in the background ignore Ctrl-C, which all that is started from there inherits.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own settings do not reach a test."""
    for name in ("BACKBURNER_URL", "BACKBURNER_RESULTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """A test stops what it started: no process or foreground thread outlives it but a shared server."""
    before = running()
    yield
    left = running() - before - shared_processes()
    assert not left, f"left running by this test: {left}"


def running() -> set[psutil.Process | threading.Thread]:
    # multiprocessing keeps one tracker for the life of the process that first needed it.
    processes = {child for child in psutil.Process().children() if "resource_tracker" not in command(child)}
    return processes | {thread for thread in threading.enumerate() if not thread.daemon}


def command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""  # gone meanwhile, or a zombie
