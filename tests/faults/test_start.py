"""Workers that cannot start, or not yet."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from backburner import Backburner
from tests.faults.harness import is_everything_done, node, wait_until

APP = 'from backburner import Backburner\n\napp = Backburner("sqlite:///jobs.db")\n'


@pytest.mark.parametrize(
    ("code", "path", "reason"),
    [
        (APP, "shops:app", "no module 'shops'"),
        (APP + "def broken(:\n", "shop:app", "SyntaxError"),
        (APP + "1 / 0\n", "shop:app", "ZeroDivisionError"),
        (APP, "shop:ap", "did you mean 'shop:app'?"),
        (APP, "shop", "write MODULE:ATTRIBUTE"),
    ],
    ids=["no module", "syntax error", "error", "no app", "no attribute"],
)
def test_an_app_that_cannot_be_loaded_ends_the_command_with_one_line_that_says_why(
    tmp_path: Path, code: str, path: str, reason: str
) -> None:
    (tmp_path / "shop.py").write_text(code)
    with node(tmp_path, "--processes", "2", app=path) as workers:
        assert workers.process.wait(30) == 2, workers.said()
        said = workers.said().splitlines()
    assert len(said) == 1, said
    [line] = said
    assert " error: " in line
    assert reason in line
    assert not (tmp_path / "jobs.db").exists()


@pytest.mark.parametrize("named", [True, False], ids=["named", "not named"])
def test_the_broker_that_the_environment_names_is_imported_before_the_processes_are_forked(
    tmp_path: Path, named: bool
) -> None:
    """And so before the app is, which each of them loads for itself."""
    broker = "backburner.brokers.sqlite.broker"
    notes = f'import os, sys\n\nprint("imported:", "{broker}" in sys.modules, os.getpid())\n'
    (tmp_path / "shop.py").write_text(notes + APP)
    environment = {"BACKBURNER_URL": "sqlite:///jobs.db" if named else ""}
    with node(tmp_path, "--processes", "2", app="shop:app", environment=environment) as workers:
        workers.wait_ready(2)
        pids = workers.pids()
        assert workers.stop() == 0
    said = [line.split() for line in workers.said().splitlines() if line.startswith("imported:")]
    assert {(each[1], int(each[2])) for each in said} == {(str(named), pid) for pid in pids}


def test_workers_that_start_during_an_outage_wait_for_its_end_and_can_be_stopped(
    app: Backburner, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(
        f"""{APP}
@app.every(3600)
@app.task
def clean_up() -> None: ...


@app.task(name="fault_tasks.quick")
def quick(seconds: float) -> None: ...
"""
    )
    jobs = app.named("fault_tasks.quick").enqueue_many([(0.0,)] * 100)
    options = ("--health", "127.0.0.1:0")
    # Less than the database's log has already: nobody can write to it. One has a schedule to store.
    with (
        node(tmp_path, *options, file_size=32 * 1024) as stopped,
        node(tmp_path, *options, app="shop:app", file_size=32 * 1024) as patient,
    ):
        for each in (stopped, patient):
            each.wait_said("no broker yet")
            assert each.ask("/live")[0] == 200
            code, body = each.ask("/ready")
            assert (code, body["reasons"]) == (503, ["0 of 1 worker processes have started"])
        assert stopped.stop() == 0
        assert app.inspector.workers() == []
        patient.limit_files(None)
        wait_until(partial(is_everything_done, app), "the jobs are done")
        assert patient.stop() == 0
    assert {job.refresh().state for job in jobs} == {"succeeded"}


def test_an_app_with_thousands_of_tasks(
    app: Backburner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first message names them all: it was longer than what the supervisor would read."""
    monkeypatch.setenv("FAULTS_TASKS", "3000")
    with node(tmp_path) as workers:
        workers.wait_ready()
        assert workers.stop() == 0
