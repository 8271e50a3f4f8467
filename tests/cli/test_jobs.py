"""`backburner jobs`: list, show and cancel."""

from __future__ import annotations

import pytest

from backburner import Backburner, State
from backburner.testing import drain
from tests.cli.helpers import Operator, claimed, dead_letters


def test_the_list_shows_the_newest_first_and_why_a_job_is_where_it_is(
    app: Backburner, operator: Operator
) -> None:
    [dead] = dead_letters(app, 7)
    queued = app.enqueue("shop.make_thumbnail", 42)
    later = app.tasks["shop.clean_up"].using(delay=3 * 86400).enqueue()
    assert operator.table("jobs") == [
        ["ID", "STATE", "WHEN", "TASK"],
        [later.id, "scheduled", "in 3 d", "shop.clean_up in default"],
        [queued.id, "queued", "now", "shop.make_thumbnail in images"],
        [dead.id, "dead", "now", "shop.send_mail in mail"],
        ["not retryable: ValueError; ValueError: user 7 has no address"],
    ]
    assert operator.read("jobs") == operator.read("jobs", "list")
    assert [job["id"] for job in operator.json("jobs")] == [later.id, queued.id, dead.id]


def test_filters_narrow_the_list(app: Backburner, operator: Operator) -> None:
    first, second = dead_letters(app, 1, 2)
    queued = app.tasks["shop.make_thumbnail"].using(tags=["vip"]).enqueue(42)

    def found(*filters: str) -> list[str]:
        return [job["id"] for job in operator.json("jobs", *filters)]

    assert found("--state", "dead") == [second.id, first.id]
    assert found("--state", "dead", "--state", "queued") == [queued.id, second.id, first.id]
    assert found("--queue", "images") == found("--tag", "vip") == [queued.id]
    assert found("--task", "shop.make_thumbnail") == [queued.id]
    assert found("--error", "user 2 has") == [second.id]
    assert found("--queue", "mail", "--state", "queued") == []
    assert operator.read("jobs", "--queue", "nobody") == "no such jobs\n"


def test_a_long_list_comes_in_pages(app: Backburner, operator: Operator) -> None:
    jobs = app.tasks["shop.clean_up"].enqueue_many([()] * 5)
    newest = [job.id for job in reversed(jobs)]
    pages, before = list[list[str]](), list[str]()
    while len(pages) < 3:
        result = operator.type("jobs", "--limit", "2", *before)
        page = [line.split()[0] for line in result.stdout.splitlines()[1:]]
        pages.append(page)
        before = ["--before", page[-1]]
        told = f"there may be more: --before {page[-1]}\n" if len(page) == 2 else ""
        assert result.stderr == told
    assert pages == [newest[:2], newest[2:4], newest[4:]]
    assert "no job 1234" in operator.refused("jobs", "--before", "1234")


def test_one_job_is_shown_with_its_whole_history(app: Backburner, operator: Operator) -> None:
    [job] = dead_letters(app, 7)
    page = operator.read("jobs", "show", job.id)
    lines = [line.split(maxsplit=1) for line in page.splitlines()]
    assert lines[:5] == [
        ["id", job.id],
        ["task", "shop.send_mail"],
        ["queue", "mail"],
        ["state", "dead: not retryable: ValueError"],
        ["attempt", "1"],
    ]
    assert ["args", "[7]"] in lines
    assert "attempt 1: die, " in page
    assert page.endswith("ValueError: user 7 has no address\n")
    assert "Traceback" in page
    assert page == operator.read("dead", "show", job.id)


def test_a_job_is_shown_with_all_that_was_given_and_stored(app: Backburner, operator: Operator) -> None:
    task = app.tasks["shop.make_thumbnail"].using(
        priority=5,
        tags=["vip", "new"],
        meta={"by": "web"},
        idempotency_key="photo-42",
        timeout=30,
        expires=600,
    )
    job = task.enqueue(42, suffix="png")
    drain(app)
    page = {
        cells[0]: cells[1].strip()
        for line in operator.read("jobs", "show", job.id).splitlines()
        if len(cells := line.split("  ", 1)) == 2
    }
    assert page["state"] == "succeeded"
    assert page["priority"] == "5"
    assert page["args"] == "[42]"
    assert page["kwargs"] == 'suffix="png"'
    assert page["tags"] == "vip, new"
    assert page["meta"] == "by='web'"
    assert page["idempotency key"] == "photo-42"
    assert page["time limit"] == "30 s"
    assert page["expires"].endswith("(in 10 min)")
    assert page["result"] == '"42-64.png"'


@pytest.mark.parametrize("command", [("jobs", "show"), ("dead", "show"), ("explain",)])
def test_a_job_that_is_not_there(app: Backburner, operator: Operator, command: tuple[str, ...]) -> None:
    app.enqueue("shop.clean_up")
    for form in ((), ("--json",)):
        said = operator.refused(*command, "1234", *form)
        assert said.startswith("no job 1234: the id is wrong, it belongs to another broker, or it finished")


def test_waiting_jobs_are_cancelled_and_running_ones_asked_to_stop(
    app: Backburner, operator: Operator
) -> None:
    running = app.enqueue("shop.clean_up")
    claimed(app, "default")
    waiting = app.enqueue("shop.clean_up")
    said = operator.read("jobs", "cancel", running.id, waiting.id, "--yes", "--reason", "wrong day")
    assert said == "cancelled, or asked to stop: 2 jobs\n"
    assert (waiting.refresh().state, waiting.record.reason) == (State.CANCELLED, "wrong day")
    assert running.refresh().state is State.RUNNING
    assert running.record.cancel_requested
    assert "state    running: wrong day, was asked to stop" in operator.read("jobs", "show", running.id)


def test_nothing_is_cancelled_before_the_operator_says_yes(app: Backburner, operator: Operator) -> None:
    job = app.enqueue("shop.clean_up")
    for answer in ("n\n", ""):
        result = operator.type("jobs", "cancel", job.id, answer=answer)
        assert (result.exit_code, result.stderr) == (1, "Aborted!\n")
        assert job.refresh().state is State.QUEUED
    assert "Cancel 1 job? [y/N]: y" in operator.read("jobs", "cancel", job.id, answer="y\n")
    assert job.refresh().state is State.CANCELLED


def test_what_cannot_be_cancelled_is_named(app: Backburner, operator: Operator) -> None:
    [dead] = dead_letters(app, 7)
    waiting = app.enqueue("shop.clean_up")
    said = operator.refused("jobs", "cancel", dead.id, waiting.id, "1234", "--yes")
    assert said == f"{dead.id} is dead; 1234 is not there"
    assert waiting.refresh().state is State.CANCELLED
    assert operator.misused("jobs", "cancel", "--yes") == "which jobs? give their ids"
