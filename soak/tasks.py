"""The jobs of the mixed load. Those that are awaited return the time at which they began."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import IO

from backburner import Backburner, Retry, current_job
from soak.settings import given

settings = given()
app = Backburner(settings.url, results=settings.results, keep_finished=settings.retention)
leaked: list[bytearray | IO[bytes] | threading.Thread] = []


def leak() -> None:
    """What `--leak` asks for, so that one can see it found."""
    if "memory" in settings.leak:
        leaked.append(bytearray(b"x" * 500_000))
    if "descriptors" in settings.leak:
        leaked.append(Path(__file__).open("rb"))  # noqa: SIM115 - that is the leak
    if "threads" in settings.leak and threading.active_count() < 1000:
        thread = threading.Thread(target=threading.Event().wait, daemon=True)
        thread.start()
        leaked.append(thread)


@app.task
async def coroutine(number: int) -> float:  # noqa: ARG001
    began = time.time()
    leak()
    await asyncio.sleep(0.005)
    return began


@app.task(queue="urgent")
async def urgent(number: int) -> int:
    return number


@app.task
def function(number: int) -> float:  # noqa: ARG001
    began = time.time()
    time.sleep(0.005)
    return began


@app.task(cpu=True)
def compute(number: int) -> float:
    began = time.time()
    sum(range(10_000 + number % 10))
    return began


@app.task(retry=Retry(first=0.2))
async def flaky(number: int) -> int:
    """Fails at first, and is tried again."""
    if current_job().attempt == 1:
        raise ConnectionError(f"number {number} fails at first")
    return number


@app.task(retry=Retry(max_attempts=1))
async def mortal(number: int) -> int:
    """Dies, and succeeds when it has been revived: tokens go on, attempts start anew."""
    if current_job().token == 1:
        raise ValueError(f"number {number} dies")
    return number


@app.every(1.0)
@app.task
async def every_second() -> None:
    """A periodic task."""
