"""Moving a queue to another broker. Here from file to file; tests/brokers/test_copy.py has all brokers."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backburner import Backburner, State
from backburner.brokers.base import Claim
from backburner.brokers.sqlite.broker import SqliteBroker
from backburner.copying import copy
from tests.cli.helpers import Operator, claimed, dead_letters, working


@pytest.fixture
def new(folder: Path) -> Iterator[Backburner]:
    new = Backburner(f"sqlite:///{folder}/new.db")
    yield new
    new.close()


@pytest.fixture
def new_url(new: Backburner) -> str:
    return new.settings.url


def fill(app: Backburner) -> list[str]:
    """One job of each state that moves, one that runs, and one that is done."""
    [dead] = dead_letters(app, 7)
    thumbnail = app.tasks["shop.make_thumbnail"]
    running = thumbnail.enqueue(1)
    claimed(app, "images")
    waits, later = thumbnail.enqueue(2), thumbnail.using(delay=3600).enqueue(3)
    assert running.refresh().state is State.RUNNING
    return [dead.id, waits.id, later.id]


def test_what_waits_and_what_is_dead_moves_and_what_runs_stays(
    app: Backburner, operator: Operator, url: str, new: Backburner, new_url: str
) -> None:
    moving = fill(app)
    before = [(app.job(each).record, app.job(each).history()) for each in moving]
    assert operator.read("copy", url, new_url).splitlines() == [
        f"moved 3 jobs to {new_url}",
        "1 job runs still, and stayed: repeat this later",
    ]
    after = [(new.job(each).record, new.job(each).history()) for each in moving]
    for (old_job, old_history), (new_job, new_history) in zip(before, after, strict=True):
        assert (new_job.state, new_job.payload, new_job.attempt, new_job.run_at, new_job.reason) == (
            old_job.state,
            old_job.payload,
            old_job.attempt,
            old_job.run_at,
            old_job.reason,
        )
        assert new_history == old_history
    assert app.inspector.counts() == {"running": 1}
    assert operator.read("copy", url, new_url).startswith("moved 0 jobs")
    assert new.inspector.counts() == {"dead": 1, "queued": 1, "scheduled": 1}


def test_programs_read_what_was_done(app: Backburner, operator: Operator, url: str, new_url: str) -> None:
    fill(app)
    assert operator.json("copy", url, new_url) == {
        "moved": 3,
        "kept": [],
        "unreadable": [],
        "running": 1,
        "schedules": 0,
        "paused": [],
    }


def test_a_job_whose_key_the_target_has_stays_and_is_named(
    app: Backburner, operator: Operator, url: str, new: Backburner, new_url: str
) -> None:
    mine = app.tasks["shop.make_thumbnail"].using(idempotency_key="once").enqueue(1)
    new.named("shop.make_thumbnail").using(idempotency_key="once").enqueue(1)
    said = operator.read("copy", url, new_url)
    assert f"1 job stayed, as another job there has the idempotency key: {mine.id}" in said
    assert mine.refresh().state is State.QUEUED


def test_a_periodic_task_made_at_run_time_moves_with_its_next_fire(
    app: Backburner, operator: Operator, url: str, new: Backburner, new_url: str
) -> None:
    app.schedule(app.tasks["shop.clean_up"], name="made", every=3600.0)
    [stored] = app.broker.run(app.broker.schedules())
    assert "moved 1 periodic task made at run time" in operator.read("copy", url, new_url)
    assert new.broker.run(new.broker.schedules()) == [stored]
    assert app.broker.run(app.broker.schedules()) == []


def test_queues_go_on_as_they_were(app: Backburner, operator: Operator, url: str, new_url: str) -> None:
    fill(app)
    operator.read("queues", "pause", "mail")
    assert "paused before, and still: mail" in operator.read("copy", url, new_url)
    paused = {each.name: each.paused for each in app.broker.run(app.broker.queues())}
    assert paused == {"images": False, "mail": True}


class DiesBetween(SqliteBroker):
    """The process ends after a batch was stored in the target, and before it is deleted here."""

    def delete(self, ids):  # type: ignore[no-untyped-def]
        raise KeyboardInterrupt


def test_a_crash_on_the_way_loses_nothing_and_the_next_run_ends_it(
    app: Backburner, operator: Operator, url: str, new: Backburner, new_url: str
) -> None:
    moving = fill(app)
    source = DiesBetween(url)
    with pytest.raises(KeyboardInterrupt):
        copy(source, new.broker)
    source.close()
    assert app.inspector.counts() == {"running": 1, "dead": 1, "queued": 1, "scheduled": 1}
    working(app)
    claim = Claim(worker="w1", queues=("images", "mail"), limit=10)
    assert app.broker.run(app.broker.exchange([], claim)).jobs == [], "what is in both runs in one"
    assert operator.read("copy", url, new_url).startswith("moved 3 jobs")
    assert sorted(job.id for job in new.broker.run(new.broker.get(moving))) == sorted(moving)
    assert app.inspector.counts() == {"running": 1}


def test_the_same_broker_twice_is_a_mistake(app: Backburner, operator: Operator, url: str) -> None:
    assert "nothing to move" in operator.refused("copy", url, url, code=2)


def test_so_it_is_when_two_urls_name_one_broker(
    app: Backburner, operator: Operator, url: str, folder: Path
) -> None:
    job = app.tasks["shop.make_thumbnail"].enqueue(1)
    link = folder / "link"
    link.symlink_to(folder)
    other = url.replace(str(folder), str(link))
    assert other != url
    assert "nothing to move" in operator.refused("copy", url, other, code=2)
    assert job.refresh().state is State.QUEUED
    assert app.inspector.workers() == []


def test_a_source_that_is_not_there_is_said(operator: Operator, folder: Path, new_url: str) -> None:
    missing = f"sqlite:///{folder}/missing.db"
    assert "there is nothing at" in operator.refused("copy", missing, new_url)
    assert not (folder / "missing.db").exists()


def test_who_looks_sees_a_progress_bar(app: Backburner, url: str, new_url: str) -> None:
    app.tasks["shop.make_thumbnail"].using(queue="many").enqueue_many([(1,)] * 450)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "backburner", "copy", url, new_url]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    run = subprocess.run(command, stderr=theirs, stdout=subprocess.PIPE, env=environment, check=True)
    os.close(theirs)
    seen = os.read(ours, 65536).decode()
    os.close(ours)
    assert "moved 450 jobs" in run.stdout.decode()
    assert "Moving" in seen
    assert "100%" in seen


def test_jobs_move_to_rabbitmq_with_a_results_store(
    app: Backburner, operator: Operator, url: str, rabbit_url: str, new_url: str
) -> None:
    moving = fill(app)
    said = operator.read("copy", url, rabbit_url, "--to-results", new_url)
    assert "moved 3 jobs" in said
    beside = Backburner(rabbit_url, results=new_url)
    assert [beside.job(each).state for each in moving] == [State.DEAD, State.QUEUED, State.SCHEDULED]
    beside.close()


def test_rabbitmq_alone_keeps_no_jobs_that_could_move(
    app: Backburner, operator: Operator, url: str, rabbit_url: str
) -> None:
    fill(app)
    assert "add a results store" in operator.refused("copy", url, rabbit_url, code=2)
    assert not any(info.paused for info in app.inspector.queues())
