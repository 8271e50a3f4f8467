"""`backburner dead`: list, retry, delete and export."""

from __future__ import annotations

import json

import pytest

from backburner import Backburner, State
from backburner.brokers.base import Filter
from backburner.testing import drain
from tests.cli.helpers import Operator, dead_letters


def states(app: Backburner) -> list[State]:
    """Of all jobs, oldest first."""
    return [job.state for job in reversed(app.inspector.jobs(Filter()))]


def test_the_list_holds_the_dead_alone(app: Backburner, operator: Operator) -> None:
    assert operator.read("dead") == "no such jobs\n"
    assert operator.json("dead") == []
    first, second = dead_letters(app, 1, 2)
    app.enqueue("shop.clean_up")
    assert operator.table("dead") == [
        ["ID", "STATE", "WHEN", "TASK"],
        [second.id, "dead", "now", "shop.send_mail in mail"],
        ["not retryable: ValueError; ValueError: user 2 has no address"],
        [first.id, "dead", "now", "shop.send_mail in mail"],
        ["not retryable: ValueError; ValueError: user 1 has no address"],
    ]
    assert [job["id"] for job in operator.json("dead")] == [second.id, first.id]
    assert [job["id"] for job in operator.json("dead", "--error", "user 1")] == [first.id]
    assert [job["id"] for job in operator.json("dead", "list", "--limit", "1")] == [second.id]


@pytest.mark.parametrize(
    ("which", "retried"),
    [
        (["--error", "user 2"], [2]),
        (["--queue", "mail", "--task", "shop.send_mail"], [1, 2, 3]),
        (["--queue", "images"], []),
        (["--tag", "vip"], []),
        (["--all"], [1, 2, 3]),
    ],
)
def test_dead_letters_are_retried_by_filter(
    app: Backburner, operator: Operator, which: list[str], retried: list[int]
) -> None:
    dead_letters(app, 1, 2, 3)
    result = operator.type("dead", "retry", *which, "--yes")
    assert result.exit_code == 0
    count = f"{len(retried)} job{'s' * (len(retried) != 1)}"
    assert result.stdout == (f"retried {count}\n" if retried else "no such dead letters\n")
    assert states(app) == [State.QUEUED if user in retried else State.DEAD for user in (1, 2, 3)]


def test_a_retried_job_runs_again_with_all_its_attempts(app: Backburner, operator: Operator) -> None:
    [job] = dead_letters(app, 7)
    assert operator.read("dead", "retry", job.id) == "retried 1 job\n"
    assert (job.refresh().state, job.record.attempt) == (State.QUEUED, 0)
    drain(app)
    assert [each.attempt for each in job.history()] == [1, 1]


def test_dead_letters_are_deleted_for_good(app: Backburner, operator: Operator) -> None:
    [gone, *_] = dead_letters(app, 1, 2, 3)
    assert operator.read("dead", "delete", gone.id, "--yes") == "deleted 1 job\n"
    assert operator.refused("jobs", "show", gone.id).startswith(f"no job {gone.id}")
    result = operator.type("dead", "delete", "--all", answer="y\n")
    assert (result.exit_code, result.stdout) == (0, "Delete 2 jobs? [y/N]: y\ndeleted 2 jobs\n")
    assert states(app) == []


@pytest.mark.parametrize("verb", ["retry", "delete"])
def test_many_are_touched_only_when_the_operator_says_so(
    app: Backburner, operator: Operator, verb: str
) -> None:
    dead_letters(app, 1, 2)
    for answer in ("n\n", ""):
        result = operator.type("dead", verb, "--all", answer=answer)
        assert (result.exit_code, result.stderr) == (1, "Aborted!\n")
    said = operator.misused("dead", verb, "--yes")
    assert said == f"which jobs? give ids, or --queue, --task, --error, --tag, or --all to {verb} all"
    assert operator.misused("dead", verb, "1234", "--all", "--yes") == said
    assert operator.misused("dead", verb, "--queue", "mail", "--all", "--yes") == said
    assert states(app) == [State.DEAD, State.DEAD]


@pytest.mark.parametrize(("verb", "past"), [("retry", "retried"), ("delete", "deleted")])
def test_what_is_not_dead_is_named_and_left_alone(
    app: Backburner, operator: Operator, verb: str, past: str
) -> None:
    [dead] = dead_letters(app, 1)
    queued = app.enqueue("shop.clean_up")
    result = operator.type("dead", verb, dead.id, queued.id, "1234", "--yes")
    assert (result.exit_code, result.stdout) == (1, f"{past} 1 job\n")
    assert result.stderr == f"error: {queued.id} is queued; 1234 is not there\n"
    assert queued.refresh().state is State.QUEUED


def test_dead_letters_are_exported_as_lines_of_json(app: Backburner, operator: Operator) -> None:
    assert operator.read("dead", "export") == ""
    jobs = dead_letters(app, 1, 2)
    app.enqueue("shop.clean_up")
    lines = [json.loads(line) for line in operator.read("dead", "export").splitlines()]
    assert {line["id"] for line in lines} == {job.id for job in jobs}
    for line in lines:
        assert line == json.loads(operator.read("dead", "show", line["id"], "--json"))
        assert line["history"][0]["error"] == "ValueError"
    [line] = operator.read("dead", "export", "--error", "user 2").splitlines()
    assert json.loads(line)["id"] == jobs[1].id
