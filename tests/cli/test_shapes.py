"""The JSON that programs read. A key that goes, or is renamed, breaks them."""

from __future__ import annotations

import json
import time

from backburner import Backburner
from backburner.testing import drain
from tests.cli.helpers import Operator, claimed, dead_letters, working

JOB = [
    "id",
    "task",
    "queue",
    "state",
    "priority",
    "attempt",
    "crashes",
    "created_at",
    "run_at",
    "expires_at",
    "started_at",
    "finished_at",
    "worker",
    "reason",
    "cancel_requested",
    "idempotency_key",
    "tags",
    "meta",
    "args",
    "kwargs",
    "progress",
    "checkpoint",
    "result",
    "history",
]
ATTEMPT = ["attempt", "worker", "started_at", "ended_at", "outcome", "error", "message", "traceback"]
FIGURES = [
    "queued",
    "latency",
    "running",
    "later",
    "dead",
    "finished",
    "failed",
    "throughput",
    "failure_rate",
    "seconds",
]


def test_stats(app: Backburner, operator: Operator) -> None:
    dead_letters(app, 1)
    found = operator.json("stats", "--minutes", "10")
    assert list(found) == ["at", "window", "workers", "total", "queues", "tasks"]
    assert abs(found["at"] - time.time()) < 60
    assert 600 <= found["window"] <= 660
    assert found["workers"] == {"alive": 0, "running": 0, "slots": 0}
    assert list(found["total"]) == FIGURES
    assert [set(each) for each in found["queues"]] == [{*FIGURES, "queue", "paused"}] * 2
    assert [set(each) for each in found["tasks"]] == [{*FIGURES, "task"}]
    assert {each["queue"]: each["dead"] for each in found["queues"]} == {"images": 0, "mail": 1}


def test_jobs_and_dead_letters(app: Backburner, operator: Operator) -> None:
    [dead] = dead_letters(app, 7)
    [listed] = operator.json("jobs")
    shown = operator.json("jobs", "show", dead.id)
    assert list(listed) == list(shown) == JOB
    assert listed["history"] is None
    assert shown == {**listed, "history": shown["history"]}
    assert operator.json("dead") == [listed]
    assert operator.json("dead", "show", dead.id) == shown
    [attempt] = shown["history"]
    assert list(attempt) == ATTEMPT
    assert (attempt["attempt"], attempt["outcome"], attempt["error"]) == (1, "die", "ValueError")
    assert attempt["message"] == "user 7 has no address"
    assert (shown["state"], shown["queue"], shown["args"], shown["kwargs"]) == ("dead", "mail", [7], {})
    assert shown["created_at"] <= shown["started_at"] <= shown["finished_at"] <= time.time()
    [exported] = operator.read("dead", "export").splitlines()
    assert json.loads(exported) == shown


def test_a_job_that_was_given_keywords_and_a_result(app: Backburner, operator: Operator) -> None:
    job = app.tasks["shop.make_thumbnail"].using(tags=["vip"]).enqueue(42, suffix="png")
    drain(app)
    shown = operator.json("jobs", "show", job.id)
    assert (shown["args"], shown["kwargs"], shown["tags"]) == ([42], {"suffix": "png"}, ["vip"])
    assert (shown["result"], shown["history"]) == ("42-64.png", [])


def test_queues(app: Backburner, operator: Operator) -> None:
    app.enqueue("shop.clean_up")
    [found] = operator.json("queues")
    assert list(found) == ["queue", "paused", "counts", "oldest_at", "max_length", "on_full"]
    assert (found["queue"], found["paused"], found["counts"]) == ("default", False, {"queued": 1})


def test_workers(app: Backburner, operator: Operator) -> None:
    assert operator.json("workers") == []
    working(
        app, host="web-1", pid=4321, queues=("mail",), tasks=("shop.send_mail",), running=1, concurrency=8
    )
    [found] = operator.json("workers")
    times = [found.pop(name) for name in ("started_at", "seen_at", "lease_until")]
    assert times == sorted(times)
    assert found == {
        "id": "w1",
        "alive": True,
        "quiet": False,
        "node": "",
        "host": "web-1",
        "pid": 4321,
        "queues": ["mail"],
        "tasks": ["shop.send_mail"],
        "running": 1,
        "slots": 8,
    }


def test_schedules(app: Backburner, operator: Operator) -> None:
    assert operator.json("schedules") == []
    drain(app)  # a worker stores what is declared
    [found] = operator.json("schedules")
    fires = operator.json("schedules", "next", "nightly", "--count", "3")
    assert fires == [found["next_at"] + 86400 * number for number in range(3)]
    assert found == {
        "name": "nightly",
        "task": "shop.clean_up",
        "queue": "default",
        "when": "At 03:00 every day, UTC",
        "cron": "0 3 * * *",
        "tz": "UTC",
        "every": None,
        "paused": False,
        "declared": True,
        "next_at": found["next_at"],
        "last_job": None,
    }


def test_explain(app: Backburner, operator: Operator) -> None:
    job = app.enqueue("shop.clean_up")
    claimed(app, "default")
    found = operator.json("explain", job.id)
    assert list(found) == ["id", "task", "queue", "state", "reasons"]
    assert (found["id"], found["task"]) == (job.id, "shop.clean_up")
    assert (found["queue"], found["state"]) == ("default", "running")
    [reason] = found["reasons"]
    assert list(reason) == ["text", "next_step"]
    assert reason["next_step"] == f"stop it with `backburner jobs cancel {job.id}`"


def test_doctor(app: Backburner, operator: Operator) -> None:
    working(app)
    found = operator.json("doctor")
    assert {tuple(check) for check in found} == {("level", "text", "next_step")}
    assert {check["level"] for check in found} <= {"ok", "warn"}


def test_enqueue(app: Backburner, operator: Operator) -> None:
    printed = operator.json("enqueue", "shop:app", "shop.make_thumbnail", "42")
    assert list(printed) == JOB
    assert printed == {**operator.json("jobs", "show", printed["id"]), "history": None}
