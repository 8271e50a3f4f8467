"""The tasks of the fault tests. Each effect is one line, written in one system call."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from backburner import Backburner, Retry, current_job, events
from backburner.control import Stop

FOLDER = Path(os.environ.get("FAULTS_FOLDER", "."))
URL = os.environ.get("FAULTS_URL") or f"sqlite:///{FOLDER}/jobs.db"
app = Backburner(URL, **json.loads(os.environ.get("FAULTS_SETTINGS") or "{}"))
leaked: list[bytearray] = []
own = threading.local()
"""The connection of each thread to the queue's own database, as an application has it."""
idle: list[Any] = []
"""Those of the coroutines."""


def remember(event: events.Event) -> None:
    with (FOLDER / "events.txt").open("a") as file:
        file.write(f"{type(event).__name__}\n")


for number in range(int(os.environ.get("FAULTS_TASKS", "0"))):
    app.task(name=f"fault_tasks.one_of_very_many_{number}")(print)
app.on(events.WorkerDied)(remember)
app.on(events.Died)(remember)


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
async def gated(gate: str = "gate") -> int:
    """Runs until the test opens the gate; gives the process that ran it."""
    leave_mark("started.txt")
    try:
        while not (FOLDER / gate).exists():  # noqa: ASYNC110 - another process opens it
            await asyncio.sleep(0.01)
    except asyncio.CancelledError:
        leave_mark("dropped.txt")
        raise
    leave_mark()
    return os.getpid()


@app.task
def gated_function(gate: str = "gate") -> int:
    leave_mark("started.txt")
    try:
        while not (FOLDER / gate).exists():
            time.sleep(0.01)
    except Stop:
        leave_mark("dropped.txt")
        raise
    leave_mark()
    return os.getpid()


@app.task(cpu=True)
def gated_cpu(gate: str = "gate") -> int:
    leave_mark("started.txt")
    while not (FOLDER / gate).exists():
        time.sleep(0.01)
    leave_mark()
    return os.getppid()


@app.task
async def hog(gate: str = "gate") -> int:
    """Holds the event loop until the test opens the gate."""
    leave_mark("started.txt")
    while not (FOLDER / gate).exists():
        time.sleep(0.01)  # noqa: ASYNC251 - that is its crime
    leave_mark()
    return os.getpid()


@app.task
def hold_the_interpreter(seconds: int) -> int:
    """As an extension module does that never lets go of Python's global lock."""
    leave_mark("started.txt")
    ctypes.PyDLL(None).sleep(seconds)
    leave_mark()
    return os.getpid()


@app.task
def leave_a_process_behind(gate: str = "gate") -> int:
    """At first forks a process, which has copies of all that is open here, and waits."""
    if current_job().token == 1:
        if os.fork() == 0:
            while not (FOLDER / gate).exists():
                time.sleep(0.01)
            os._exit(0)
        leave_mark("started.txt")
        time.sleep(3600)
    return os.getpid()


@app.task
async def sleep_in_a_thread(seconds: float) -> None:
    """The thread is asyncio's own, and goes on when the coroutine is cancelled."""
    leave_mark("started.txt")
    await asyncio.to_thread(time.sleep, seconds)


@app.task
async def babble() -> int:
    """Writes to descriptors that are not its own: at first to all sockets, also to that of the supervisor."""
    if current_job().token == 1:
        for descriptor in sockets():
            os.write(descriptor, b"nonsense\n")
        await asyncio.Event().wait()
    return os.getpid()


def sockets() -> Iterator[int]:
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the folder's own
            if str(descriptor.readlink()).startswith("socket:"):
                yield int(descriptor.name)


@app.task
def hoard(megabytes: int) -> int:
    """Leaks."""
    leaked.append(bytearray(os.urandom(1024)) * 1024 * megabytes)
    leave_mark()
    return os.getpid()


@app.task(retry=Retry(first=0.3, jitter=0))
async def flaky() -> int:
    """Fails once."""
    if current_job().attempt == 1:
        raise ConnectionError("the first attempt fails")
    leave_mark()
    return os.getpid()


@app.task(retry=Retry(max_attempts=1))
def broken() -> None:
    raise ValueError("no retry can help")


@app.task
async def on_time(due: float) -> None:
    """Leaves another mark as well if that time has not come."""
    if time.time() < due:
        leave_mark("early.txt")
    leave_mark()


@contextmanager
def own_transaction() -> Iterator[Any]:
    """A transaction on the queue's own database, which the task commits."""
    if URL.startswith("sqlite"):
        with closing(sqlite3.connect(URL.removeprefix("sqlite:///"), timeout=30.0)) as lite:
            yield lite
    else:
        import psycopg

        if not hasattr(own, "connection"):
            own.connection = psycopg.connect(URL)
        try:
            yield own.connection
        finally:
            own.connection.rollback()  # what was not committed


@app.task
def complete() -> None:
    """Its effect is a row in the queue's own database."""
    with own_transaction() as connection:
        connection.execute(f"INSERT INTO effects VALUES ('{current_job().id}')")
        current_job().complete_in(connection)
        connection.commit()


@app.task
async def acomplete() -> None:
    import asyncpg

    connection = idle.pop() if idle else await asyncpg.connect(URL)
    async with connection.transaction():
        await connection.execute("INSERT INTO effects VALUES ($1)", current_job().id)
        await current_job().acomplete_in(connection)
    idle.append(connection)


@app.task
async def killer() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
