"""`backburner stats`, `workers`, `explain`, `doctor` and `migrate`, as people read them."""

from __future__ import annotations

from pathlib import Path

from backburner import Backburner
from backburner.testing import drain
from tests.cli.helpers import Operator, dead_letters, working


def test_the_figures_of_queues_and_tasks(app: Backburner, operator: Operator) -> None:
    dead_letters(app, 1, 2, 3)
    app.tasks["shop.make_thumbnail"].enqueue_many([(1,)])
    drain(app)
    app.tasks["shop.make_thumbnail"].enqueue_many([(2,), (3,)])
    app.tasks["shop.send_mail"].using(delay=60).enqueue(4)
    working(app, running=3, concurrency=8)
    operator.read("queues", "pause", "mail")
    summary, _, *lines = operator.read("stats", "--minutes", "60").splitlines()
    assert summary.startswith("1 worker, 3 of 8 slots busy; 2 queued, 3 dead; 0.0 done a second in ")
    end = lines.index("")
    heads = [lines[0].split(), lines[end + 1].split()]
    assert heads == [
        [title, "QUEUED", "LATENCY", "RUNNING", "LATER", "DEAD", "DONE/S", "FAILED", "TOOK"]
        for title in ("QUEUE", "TASK")
    ]
    queues = {line.split()[0]: line for line in lines[1:end]}
    assert list(queues) == ["images", "mail", "paused"]
    tasks = {line.split()[0]: line for line in lines[end + 2 :]}
    assert list(tasks) == ["shop.make_thumbnail", "shop.send_mail"]
    for line in (queues["images"], tasks["shop.make_thumbnail"]):
        queued, _, _, running, later, dead, rate, failed, _, _ = line.split()[1:]
        assert (queued, running, later, dead, rate, failed) == ("2", "0", "0", "0", "0.0", "0%")
    for line in (queues["mail"], tasks["shop.send_mail"]):
        assert line.split()[1:7] == ["0", "0", "1", "3", "0.0", "100%"]


def test_figures_are_watched_or_printed_as_json_but_not_both(app: Backburner, operator: Operator) -> None:
    said = operator.misused("stats", "--watch", "--json")
    assert said == "--json prints one document: give --watch or --json"


def test_the_list_of_workers(app: Backburner, operator: Operator) -> None:
    said = "no workers: start one with `backburner worker MODULE:APP`\n"
    assert operator.read("workers") == said
    working(app, pid=11, queues=("images", "mail"), running=3, concurrency=8)
    working(app, worker="w2", pid=22, queues=("mail",), concurrency=4, quiet=True)
    working(app, worker="w3", pid=33, queues=("mail",), lease=-1)
    head, first, second, third = operator.table("workers")
    assert head == ["WORKER", "PID", "STATE", "BUSY", "UP", "QUEUES"]
    assert first[:4] == ["w1", "11", "alive", "3/8"]
    assert first[5] == "images, mail"
    assert second[:4] == ["w2", "22", "quiet", "0/4"]
    assert third[:2] == ["w3", "33"]
    assert third[2].startswith("silent for ")


def test_a_job_is_explained_with_the_next_step(app: Backburner, operator: Operator) -> None:
    first, second = (app.enqueue("shop.send_mail", user_id) for user_id in (1, 2))
    operator.read("queues", "pause", "mail")
    assert operator.read("explain", second.id).splitlines() == [
        "shop.send_mail in mail is queued",
        "•  queue 'mail' is paused",
        "   → backburner queues resume mail",
        "•  no worker is alive",
        "   → start one: backburner worker MODULE:APP --queues mail",
        "•  1 job is ahead of it",
    ]
    assert "ahead" not in operator.read("explain", first.id)


def test_a_healthy_queue(app: Backburner, operator: Operator) -> None:
    working(app)
    lines = operator.table("doctor")
    assert {line[0] for line in lines} <= {"ok", "warn"}, lines
    assert ["ok", "1 worker is alive"] in lines
    assert ["ok", "0 dead letters"] in lines


def test_a_sick_queue_says_what_to_do_and_ends_with_1(app: Backburner, operator: Operator) -> None:
    app.enqueue("shop.clean_up")
    result = operator.type("doctor")
    assert (result.exit_code, result.stderr) == (1, "")
    lines = result.stdout.splitlines()
    told = next(number for number, line in enumerate(lines) if line.startswith("fail"))
    assert lines[told : told + 2] == [
        "fail  no worker is alive; 1 job waits and 0 were running",
        "      → backburner worker MODULE:APP",
    ]
    assert operator.type("doctor", "--json").exit_code == 1


def test_the_doctor_makes_no_file_where_there_is_none(folder: Path, operator: Operator) -> None:
    result = operator.type("doctor")
    assert result.exit_code == 1
    assert f"{folder}/shop.db does not exist" in result.stdout
    assert "backburner migrate" in result.stdout
    assert not list(folder.iterdir())


def test_a_new_file_is_migrated_once(folder: Path, operator: Operator, url: str) -> None:
    first = operator.read("migrate").splitlines()
    assert first == ["applied initial", "applied identity", f"{url} is up to date"]
    assert (folder / "shop.db").exists()
    assert operator.read("migrate") == f"{url} is up to date\n"
    assert operator.read("jobs") == "no such jobs\n"
