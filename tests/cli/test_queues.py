"""`backburner queues` and `backburner schedules`: list, pause, resume, delete."""

from __future__ import annotations

import pytest

from backburner import Backburner
from backburner.testing import drain
from tests.cli.helpers import Operator, claimed, working


def test_the_list_of_queues(app: Backburner, operator: Operator) -> None:
    assert operator.read("queues") == "no queues: nothing was ever enqueued\n"
    drain(app)  # a worker stores the bound of a queue
    app.tasks["shop.make_thumbnail"].enqueue_many([(1,), (2,)])
    app.tasks["shop.make_thumbnail"].using(delay=60).enqueue(3)
    claimed(app, "images")
    app.enqueue("shop.send_mail", 7)
    operator.read("queues", "pause", "mail")
    assert operator.table("queues") == [
        ["QUEUE", "OLDEST", "QUEUED", "RUNNING", "SCHEDULED", "RETRYING", "DEAD"],
        ["images", "now", "1", "1", "1", "0", "0"],
        ["at most 5, then raise"],
        ["mail", "now", "1", "0", "0", "0", "0"],
        ["paused"],
    ]


def test_a_queue_is_paused_and_resumed(app: Backburner, operator: Operator) -> None:
    job = app.enqueue("shop.clean_up")
    said = operator.read("queues", "pause", "default")
    assert said == "queue default is paused; `backburner queues resume default` ends that\n"
    drain(app)
    assert job.refresh().state == "queued"
    assert operator.read("queues", "resume", "default") == "queue default is not paused\n"
    drain(app)
    assert job.refresh().state == "succeeded"


def test_a_queue_that_only_a_worker_names_can_be_paused(app: Backburner, operator: Operator) -> None:
    working(app, queues=("reports",))
    operator.read("queues", "pause", "reports")
    [found] = operator.json("queues")
    assert (found["queue"], found["paused"]) == ("reports", True)


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_misspelt_queue_is_not_paused_without_a_word(
    app: Backburner, operator: Operator, verb: str
) -> None:
    app.enqueue("shop.send_mail", 7)
    assert operator.refused("queues", verb, "mial") == "unknown queue 'mial'; did you mean 'mail'?"
    assert [each["queue"] for each in operator.json("queues")] == ["mail"]


def test_the_list_of_schedules(app: Backburner, operator: Operator) -> None:
    said = "no schedules: declare one with @app.every or @app.cron, and start a worker\n"
    assert operator.read("schedules") == said
    drain(app)
    app.schedule(app.tasks["shop.clean_up"], name="yearly", every=365 * 86400)
    operator.read("schedules", "pause", "yearly")
    head, nightly, task, yearly, same_task = operator.table("schedules")
    assert head == ["SCHEDULE", "NEXT", "FIRES", "TASK"]
    assert [nightly[0], *nightly[2:]] == ["nightly", "At 03:00 every day, UTC", "shop.clean_up"]
    assert nightly[1].startswith("in ")
    assert yearly == ["yearly", "paused", "Every 365 d", "shop.clean_up"]
    assert task == same_task == ["in default"]


def test_the_next_fires_of_a_schedule(app: Backburner, operator: Operator) -> None:
    drain(app)
    head, *fires = operator.table("schedules", "next", "nightly")
    assert head == ["TIME"]
    assert len(fires) == 5
    assert all(time.endswith(" 03:00:00Z") and left.startswith("in ") for time, left in fires)
    assert len(operator.table("schedules", "next", "nightly", "--count", "2")) == 3


def test_a_schedule_is_paused_and_resumed(app: Backburner, operator: Operator) -> None:
    drain(app)
    said = operator.read("schedules", "pause", "nightly")
    assert said == "schedule nightly is paused; `backburner schedules resume nightly` ends that\n"
    assert [each["paused"] for each in operator.json("schedules")] == [True]
    assert operator.read("schedules", "resume", "nightly") == "schedule nightly is not paused\n"
    assert [each["paused"] for each in operator.json("schedules")] == [False]


def test_a_schedule_is_deleted_and_the_operator_told_when_it_comes_back(
    app: Backburner, operator: Operator
) -> None:
    drain(app)
    app.schedule(app.tasks["shop.clean_up"], name="yearly", every=365 * 86400)
    result = operator.type("schedules", "delete", "yearly", answer="n\n")
    assert (result.exit_code, result.stderr) == (1, "Aborted!\n")
    assert operator.read("schedules", "delete", "yearly", "--yes") == "deleted schedule yearly\n"
    result = operator.type("schedules", "delete", "nightly", answer="y\n")
    assert result.exit_code == 0
    assert "deleted schedule nightly\n" in result.stdout
    assert result.stderr.startswith("it is declared in code, and comes back when a worker starts")
    assert operator.json("schedules") == []
    drain(app)
    assert [each["name"] for each in operator.json("schedules")] == ["nightly"]


@pytest.mark.parametrize("verb", [("pause",), ("resume",), ("next",), ("delete", "--yes")])
def test_a_misspelt_schedule(app: Backburner, operator: Operator, verb: tuple[str, ...]) -> None:
    drain(app)
    said = operator.refused("schedules", *verb, "nigthly")
    assert said == "unknown schedule 'nigthly'; did you mean 'nightly'?"
    assert len(operator.json("schedules")) == 1
