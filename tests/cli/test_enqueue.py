"""`backburner enqueue`: a job by hand."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from backburner import Backburner, State
from backburner.testing import drain
from tests.cli.helpers import Operator

MAKE = ("enqueue", "shop:app", "shop.make_thumbnail")


def test_it_prints_the_id_of_the_job(app: Backburner, operator: Operator) -> None:
    job = app.job(operator.read(*MAKE, "42", "--kwargs", '{"size": 128, "suffix": "png"}').strip())
    assert (job.state, job.record.queue) == (State.QUEUED, "images")
    drain(app)
    assert job.result(0) == "42-128.png"


def test_options_replace_those_of_the_task(app: Backburner, operator: Operator) -> None:
    found = operator.json(*MAKE, "42", "--queue", "urgent", "--priority", "50", "--delay", "60")
    assert (found["queue"], found["priority"], found["state"]) == ("urgent", 50, "scheduled")
    assert found["run_at"] - found["created_at"] == 60


def test_arguments_are_json_or_else_text(folder: Path, operator: Operator) -> None:
    (folder / "notes.py").write_text(
        "from backburner import Backburner\n"
        "app = Backburner()\n"
        "@app.task(name='note')\n"
        "def note(*values): ...\n"
    )
    typed = ["abc", '"42"', "42", "-3", "[1, 2]", "null", "two words", "{"]
    printed = json.loads(operator.read("enqueue", "--json", "notes:app", "note", "--", *typed))
    assert printed["args"] == ["abc", "42", 42, -3, [1, 2], None, "two words", "{"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([], "shop.make_thumbnail: missing a required argument: 'photo_id'"),
        (["1", "2", "3"], "shop.make_thumbnail: too many positional arguments"),
        (["abc"], "the arguments do not fit shop.make_thumbnail: argument 'photo_id': Expected `int`"),
        (["1", "--kwargs", '{"size": "x"}'], "the arguments do not fit shop.make_thumbnail: argument 'size'"),
        (["1", "--kwargs", '{"sise": 1}'], "shop.make_thumbnail: got an unexpected keyword argument 'sise'"),
        (["1", "--kwargs", "[1]"], "--kwargs takes a JSON object, as in '{\"size\": 64}': Expected `object`"),
        (["1", "--kwargs", "{"], "--kwargs takes a JSON object, as in '{\"size\": 64}'"),
        (["9" * 2000], "shop.make_thumbnail: the arguments take 2,002 bytes and 1,000 is the limit;"),
        (["1", "--queue", ""], "task shop.make_thumbnail: queue is a text, and not empty, not ''"),
    ],
    ids=["none", "too-many", "wrong-type", "wrong-keyword", "unknown", "list", "half", "too-large", "queue"],
)
def test_what_does_not_fit_is_refused_here_and_not_in_the_worker(
    app: Backburner, operator: Operator, typed: list[str], said: str
) -> None:
    assert operator.refused(*MAKE, *typed, code=2).startswith(said)
    assert app.inspector.jobs() == []


def test_a_misspelt_task(app: Backburner, operator: Operator) -> None:
    said = operator.refused("enqueue", "shop:app", "shop.make_thumbnails", "42", code=2)
    assert said == "unknown task 'shop.make_thumbnails'; did you mean 'shop.make_thumbnail'?"


def test_a_full_queue(app: Backburner, operator: Operator) -> None:
    app.tasks["shop.make_thumbnail"].enqueue_many([(number,) for number in range(5)])
    said = operator.refused(*MAKE, "42")
    assert said == "queue 'images' holds 5 jobs and takes 5 at most; try again in 30 s, or add workers"


@contextmanager
def a_worker(app: Backburner) -> Iterator[None]:
    """Runs whatever is enqueued until the context ends, on a connection of its own."""
    ended = threading.Event()
    own = Backburner(app.settings.url)
    own.tasks = app.tasks

    async def work() -> None:
        async with own.worker():
            await asyncio.to_thread(ended.wait)

    with ThreadPoolExecutor(1) as thread:
        working = thread.submit(asyncio.run, work())
        try:
            yield
        finally:
            ended.set()
            working.result()
            own.close()


def test_it_can_wait_for_the_result(app: Backburner, operator: Operator) -> None:
    with a_worker(app):
        assert operator.read(*MAKE, "42", "--wait") == '"42-64.jpg"\n'
        assert operator.read("enqueue", "shop:app", "shop.clean_up", "--wait", "--timeout", "30") == "null\n"
        found = operator.json(*MAKE, "42", "--wait")
        assert (found["state"], found["result"]) == ("succeeded", "42-64.jpg")
        result = operator.type("enqueue", "shop:app", "shop.send_mail", "7", "--wait")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is dead (not retryable: ValueError); in the worker:" in result.stderr
    assert result.stderr.endswith("ValueError: user 7 has no address\n")


def test_it_does_not_wait_for_ever(app: Backburner, operator: Operator) -> None:
    said = operator.refused(*MAKE, "42", "--wait", "--timeout", "0.01")
    [job] = app.inspector.jobs()
    assert said == f"job {job.id} is queued after 0.01 s; `backburner explain {job.id}` says why"
    told = operator.misused(*MAKE, "42", "--timeout", "5")
    assert told == "--timeout says how long to wait: give --wait, too"
    assert app.inspector.jobs() == [job]
