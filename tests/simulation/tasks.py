"""What the simulated jobs do. A plan says for each claim how it ends, its last entry for all others."""

from __future__ import annotations

import asyncio
import sqlite3

from backburner import Backburner, Cancel, Dead, Retry, Snooze, current_job
from backburner.context import CurrentJob
from tests.oracle import Followed, Resumed, Returned, Saved, Saving
from tests.simulation.process import Process
from tests.simulation.world import MAX_ATTEMPTS

Step = tuple[str, float]
"""How an attempt ends, and after how many seconds."""

app = Backburner("sqlite://", retry=Retry(max_attempts=MAX_ATTEMPTS, first=0.5, factor=3.0))


class Undone(Exception):
    """The user's own transaction failed."""


def returned(job: CurrentJob) -> None:
    Process.current().world.see(Returned(job.id, job.token))


async def act(plan: list[Step]) -> str:
    """Do what the plan says for this claim; how it is to end otherwise."""
    job = current_job()
    how, seconds = plan[min(job.token, len(plan)) - 1]
    await asyncio.sleep(seconds)
    match how:
        case "fail":
            raise OSError("as planned")
        case "later":
            raise Retry.after(2.0)
        case "snooze":
            raise Snooze(3.0)
        case "dead":
            raise Dead("as planned")
        case "cancel":
            raise Cancel("as planned")
        case "kill":
            Process.current().kill(job)
            await asyncio.sleep(0)  # and does not come back
    return how


@app.task(name="work", timeout=60.0)
async def work(plan: list[Step]) -> None:
    job = current_job()
    await act(plan)
    returned(job)


@app.task(name="urgent", queue="urgent", priority=5, timeout=20.0, retry=Retry(max_attempts=2, first=1.0))
async def urgent(plan: list[Step]) -> None:
    await work.function(plan)  # type: ignore[misc]


@app.task(name="parent")
async def parent(plan: list[Step], child: list[Step]) -> None:
    job = current_job()
    await act(plan)
    process = Process.current()
    process.world.see(Followed(job.then(work, child), job.id, job.token))
    returned(job)


@app.task(name="effect")
async def effect(plan: list[Step]) -> None:
    """Writes into the user's own table, in the transaction that completes the job."""
    job = current_job()
    how = await act(plan)
    process = Process.current()
    world, store = process.world, process.store
    if world.happens("crash in a transaction", 0.1):
        process.kill()
    with store.transaction() as connection:
        write(connection, job)
        if process.dead or how == "undo":
            raise Undone
    if world.happens("crash in a transaction", 0.1):
        process.kill()
    await asyncio.sleep(0.01)
    if how == "fail after":
        raise OSError("after the commit")
    returned(job)


def write(connection: sqlite3.Connection, job: CurrentJob) -> None:
    connection.execute("INSERT INTO effects VALUES (?, ?)", (job.id, job.token))
    job.complete_in(connection, "done")


@app.task(name="steps")
async def steps(plan: list[Step]) -> None:
    """Three steps, each of which is not done again once it is stored that it was."""
    job = current_job()
    see = Process.current().world.see
    done: int = job.checkpoint or 0
    see(Resumed(job.id, job.token, done))
    for step in range(done + 1, 4):
        see(Saving(job.id, job.token, step))
        await job.asave(step)
        see(Saved(job.id, job.token, step))
        await act(plan)
    returned(job)


@app.task(name="killer")
async def killer(plan: list[Step]) -> None:
    await work.function(plan)  # type: ignore[misc]


@app.task(name="tick", queue="ticks")
async def tick() -> None:
    job = current_job()
    await asyncio.sleep(0.5)
    returned(job)
