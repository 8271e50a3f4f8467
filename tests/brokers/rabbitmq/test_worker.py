"""A worker on RabbitMQ alone, which only moves jobs: no leases, no lookups, no counts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from backburner import Backburner, Job, Retry, current_job, events
from backburner.brokers.base import Claim, Exchange, Operation
from backburner.errors import NotSupported
from backburner.lifecycle import Settlement
from backburner.testing import adrain
from tests.brokers.rabbitmq.conftest import Connect
from tests.servers.rabbitmq import RabbitServer
from tests.worker.helpers import LONG, Seen, within


@pytest.fixture
def app(rabbit_url: str) -> Iterator[Backburner]:
    app = Backburner(f"{rabbit_url}?queues=classic", retry=Retry(first=0, jitter=0))
    yield app
    app.close()


async def test_jobs_run_are_retried_and_follow_each_other(app: Backburner) -> None:
    ran = list[str]()

    @app.task
    async def second() -> None:
        ran.append("second")

    @app.task
    def first() -> None:
        ran.append(f"first {current_job().attempt}")
        if current_job().attempt == 1:
            raise OSError
        current_job().then(second)

    await first.aenqueue()
    assert await adrain(app) == 3
    assert ran == ["first 1", "first 2", "second"]


async def test_a_worker_of_another_program_ends_when_it_finds_nothing_more(app: Backburner) -> None:
    begun, gate = asyncio.Event(), asyncio.Event()

    @app.task
    async def wait() -> None:
        begun.set()
        await gate.wait()

    await wait.aenqueue()
    async with app.worker() as embedded:
        await within(begun)
        assert not embedded.worker.idle
        gate.set()
        async with asyncio.timeout(LONG):
            await embedded.drained()
        assert embedded.worker.finished == 1


async def test_a_worker_is_not_idle_while_it_settles_what_may_bring_more(
    app: Backburner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was, if it had looked twice while the job ran: a program ended before the retry came."""
    running, gate, settling = asyncio.Event(), asyncio.Event(), list[bool]()
    looks = 0

    @app.task
    async def fail_once() -> None:
        if current_job().attempt == 1:
            running.set()
            await gate.wait()
            raise OSError

    exchange = app.broker.exchange

    def watched(settlements: Sequence[Settlement], claim: Claim | None) -> Operation[Exchange]:
        nonlocal looks
        looks += running.is_set()
        if looks == 2:
            gate.set()
        if settlements:
            settling.append(embedded.worker.idle)
        return exchange(settlements, claim)

    await fail_once.aenqueue()
    async with app.worker() as embedded:
        monkeypatch.setattr(app.broker, "exchange", watched)
        async with asyncio.timeout(LONG):
            await embedded.drained()
    assert settling == [False, False]


async def test_a_worker_is_not_idle_when_its_job_was_taken_away(
    app: Backburner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was, until the job came back: a program ended before it had run."""
    ran, idle = list[str](), list[bool]()
    looks = 0

    @app.task
    async def wait() -> None:
        ran.append("once more")
        if len(ran) == 1:
            await asyncio.Event().wait()

    exchange, driver = app.broker.exchange, app.broker._driver  # type: ignore[attr-defined]

    def cut() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.1, driver.consumer._link.raw.cut)  # when that look is over

    def watched(settlements: Sequence[Settlement], claim: Claim | None) -> Operation[Exchange]:
        nonlocal looks
        looks += len(ran) == 1
        if looks == 2:
            driver._background._loop.call_soon_threadsafe(cut)
        idle.append(len(ran) == 1 and embedded.worker.idle)
        return exchange(settlements, claim)

    await wait.aenqueue()
    async with app.worker() as embedded:
        monkeypatch.setattr(app.broker, "exchange", watched)
        async with asyncio.timeout(LONG):
            await embedded.drained()
    assert len(ran) == 2
    assert not any(idle)


async def test_a_declared_task_fires(app: Backburner) -> None:
    fired = asyncio.Event()

    @app.every(0.05)
    @app.task
    async def tick() -> None:
        fired.set()

    async with app.worker():
        await within(fired)


async def test_a_checkpoint_that_was_refused_is_none(app: Backburner) -> None:
    seen = list[object]()

    @app.task
    def save() -> None:
        with pytest.raises(NotSupported):
            current_job().save({"row": 41})
        seen.append(current_job().checkpoint)

    @app.task
    async def asave() -> None:
        with pytest.raises(NotSupported):
            await current_job().asave({"row": 41})
        seen.append(current_job().checkpoint)

    await save.aenqueue()
    await asave.aenqueue()
    assert await adrain(app) == 2
    assert seen == [None, None]


def test_what_needs_more_is_refused_where_it_is_declared(app: Backburner) -> None:
    @app.task
    def task() -> None: ...

    with pytest.raises(NotSupported, match=r'no lookup: add a results store, as in Backburner\("amqp://'):
        app.every(60, overlap="skip")(task)
    with pytest.raises(NotSupported, match="no bounded: add a results store"):
        app.queue("mail", max_length=5)
    assert app.declared == {}
    assert app.bounds == {}


CALLS: dict[str, tuple[str, Callable[[Backburner, Job[None]], object]]] = {
    "a result": ("lookup", lambda app, job: job.result(timeout=0)),
    "a refresh": ("lookup", lambda app, job: job.refresh()),
    "a history": ("lookup", lambda app, job: job.history()),
    "a cancel": ("lookup", lambda app, job: job.cancel()),
    "a job by its id": ("lookup", lambda app, job: app.job(job.id)),
    "stats": ("lookup", lambda app, job: app.inspector.stats()),
    "an explanation": ("lookup", lambda app, job: app.inspector.explain(job.id)),
    "a list of schedules": ("schedules", lambda app, job: app.inspector.schedules()),
    "a schedule at run time": (
        "schedules",
        lambda app, job: app.schedule(app.named("task"), name="made", every=60.0),
    ),
    "an idempotency key": (
        "unique",
        lambda app, job: app.named("task").using(idempotency_key="once").enqueue(),
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_needs_more_is_refused_where_it_is_called(app: Backburner, call: str) -> None:
    missing, ask = CALLS[call]
    app.task(name="task")(lambda: None)
    job = app.enqueue("task")
    with pytest.raises(NotSupported, match=f" has no {missing}: .*results="):
        ask(app, job)


async def test_what_a_running_job_cannot_do_it_is_told_at_the_call(app: Backburner) -> None:
    refused = list[str]()

    @app.task
    def ask() -> None:
        calls: list[Callable[[], None]] = [
            lambda: current_job().report(0.5),
            lambda: current_job().save({"row": 7}),
            lambda: current_job().complete_in(object()),
        ]
        for call in calls:
            try:
                call()
            except NotSupported as error:
                refused.append(str(error).split(":")[0])

    await ask.aenqueue()
    await adrain(app)
    assert refused == [f"RabbitBroker has no {missing}" for missing in ("lookup", "lookup", "transactions")]


async def test_a_job_whose_claim_went_to_another_is_stopped(
    app: Backburner, connect: Connect, rabbit_server: RabbitServer
) -> None:
    """The broker tells on the next exchange; nothing of that job was to be settled in it."""
    begun, stopped = asyncio.Event(), asyncio.Event()

    @app.task
    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert current_job().stop_reason == "lost"
            stopped.set()
            raise

    seen = Seen(app)
    job = await work.aenqueue()
    async with app.worker() as embedded:
        await within(begun)
        await app.broker.arun(app.broker.set_queue("default", paused=True))  # it is for another one then
        rabbit_server.close_connections("a test wants it so")
        await within(stopped)
        [lost] = await seen.wait(events.LostLease)
        assert lost.job.id == job.id
        assert not embedded.worker.running
    other = connect("?queues=classic")
    other.broker.run(other.broker.set_queue("default", paused=False))
    assert other.next().id == job.id


APP = """
import os
from pathlib import Path

from backburner import Backburner, current_job

app = Backburner(os.environ["URL"])

@app.task
def count(left: int) -> None:
    with Path("ran").open("a") as file:
        file.write(f"{left}\\n")
    if left:
        current_job().then(count, left - 1)
"""


def test_the_command_ends_when_its_processes_have_long_found_nothing(rabbit_url: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(APP)
    for words in (
        ["enqueue", "shop:app", "shop.count", "5"],
        ["worker", "shop:app", "--drain", "--processes", "2", "--max-jobs", "3"],
    ):
        subprocess.run(
            [sys.executable, "-m", "backburner", *words],
            cwd=tmp_path,
            env={**os.environ, "URL": f"{rabbit_url}?queues=classic"},
            check=True,
            timeout=50,
        )
    assert (tmp_path / "ran").read_text().split() == ["5", "4", "3", "2", "1", "0"]


TICKING = """
import os

from backburner import Backburner

app = Backburner(os.environ["URL"])

@app.every(1.5)
@app.task
async def tick() -> None: ...
"""


def test_the_command_ends_although_a_periodic_task_goes_on_firing(rabbit_url: str, tmp_path: Path) -> None:
    """As on brokers that can count: the next fire is not waited for."""
    (tmp_path / "shop.py").write_text(TICKING)
    subprocess.run(
        [sys.executable, "-m", "backburner", "worker", "shop:app", "--drain", "--processes", "2"],
        cwd=tmp_path,
        env={**os.environ, "URL": f"{rabbit_url}?queues=classic"},
        check=True,
        timeout=50,
    )


def test_an_operators_command_says_what_is_missing(rabbit_url: str) -> None:
    command = [sys.executable, "-m", "backburner", "stats", "--url", rabbit_url]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("error: RabbitBroker has no lookup: add a results store, as in Backburner(")
