"""A deploy: for a while workers of the old code and of the new one serve the same queue."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from backburner import Backburner, Job, State
from backburner.brokers.base import Filter
from tests.faults.brokers import BROKERS, url_of
from tests.faults.harness import Node, effects, marks, wait_until

OLD = """
import os
from fault_tasks import app, leave_mark

def note() -> None:
    leave_mark(f"{os.getpid()}.txt")
    leave_mark()

@app.task(name="shop.greet")
def greet(name: str) -> None:
    note()

@app.task(name="shop.resize")
def resize(photo: int) -> None:
    note()

@app.task(name="shop.remind")
def remind() -> None:
    note()
"""
NEW = OLD.replace("shop.greet", "shop.welcome").replace("photo: int", "photo: int, width: int")
NEW = NEW[: NEW.index('@app.task(name="shop.remind")')]
SETTINGS = {"unknown_task_delay": 0.5, "lease": 10.0, "heartbeat": 2.0}


@pytest.fixture(params=BROKERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, request, tmp_path)


@pytest.fixture
def shop(url: str) -> Iterator[Backburner]:
    producer = Backburner(url)
    yield producer
    producer.close()


def release(folder: Path, url: str, name: str, code: str) -> Node:
    (folder / f"{name}.py").write_text(code)
    return Node(folder, app=f"{name}:app", settings=SETTINGS, environment={"FAULTS_URL": url})


def have_run(folder: Path, jobs: list[Job[object]]) -> bool:
    return {job.id for job in jobs} <= effects(folder).keys()


def ran_by(folder: Path, running: Node) -> set[str]:
    [pid] = running.pids()
    return set(marks(folder, f"{pid}.txt"))


def dead(app: Backburner) -> dict[str, str]:
    found = app.broker.run(app.broker.find(Filter(states=(State.DEAD,), queue="default", limit=100)))
    return {job.id: job.reason or "" for job in found}


@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(120)
def test_jobs_find_the_workers_whose_code_they_are_for(shop: Backburner, url: str, tmp_path: Path) -> None:
    one, two = release(tmp_path, url, "old_shop", OLD), release(tmp_path, url, "new_shop", NEW)
    try:
        one.wait_ready()
        two.wait_ready()
        renamed: list[Job[object]] = [shop.enqueue("shop.welcome", "Ada") for _ in range(20)]
        before: list[Job[object]] = [shop.enqueue("shop.greet", "Ada") for _ in range(20)]
        wait_until(partial(have_run, tmp_path, renamed + before), "each finds a worker that has its code")
        assert ran_by(tmp_path, two) == {job.id for job in renamed}
        assert ran_by(tmp_path, one) == {job.id for job in before}
        assert one.stop() == 0
        misfit = shop.enqueue("shop.resize", 1)
        removed: list[Job[object]] = [shop.enqueue("shop.remind")]
        wait_until(lambda: misfit.id in dead(shop), "what does not fit the new code is dead")
        assert "argument 'width' is missing" in dead(shop)[misfit.id]
        two.wait_said(f"unknowntask shop.remind {removed[0].id}", times=2)
        one = release(tmp_path, url, "old_shop", OLD)
        wait_until(partial(have_run, tmp_path, removed), "when the old code is back, what it is for runs")
        assert one.stop() == two.stop() == 0
    finally:
        one.end()
        two.end()
    assert set(effects(tmp_path).values()) == {1}
    assert dead(shop).keys() == {misfit.id}
