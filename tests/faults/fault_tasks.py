"""The tasks of the fault tests. Each effect is one line, written in one system call."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

from backburner import Backburner, current_job

FOLDER = Path(os.environ.get("FAULTS_FOLDER", "."))
app = Backburner(f"sqlite:///{FOLDER}/jobs.db", **json.loads(os.environ.get("FAULTS_SETTINGS") or "{}"))


def leave_mark(name: str = "effects.txt") -> None:
    file = os.open(FOLDER / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{current_job().id}\n".encode())
    finally:
        os.close(file)


@app.task
async def quick(seconds: float) -> None:
    await asyncio.sleep(seconds)
    leave_mark()


@app.task
def quick_function(seconds: float) -> None:
    time.sleep(seconds)
    leave_mark()


@app.task
async def long(seconds: float) -> None:
    leave_mark("started.txt")
    await asyncio.sleep(seconds)
    leave_mark()


@app.task
def long_function(seconds: float) -> None:
    leave_mark("started.txt")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
    leave_mark()


@app.task(cpu=True)
def long_cpu(seconds: float) -> None:
    leave_mark("started.txt")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    leave_mark()


@app.task
async def killer() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
