from __future__ import annotations

import math
import runpy
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backburner import Backburner, ConfigError, Retry
from backburner.app import task_name
from backburner.errors import TaskNotFound
from backburner.job import JobRecord, Options
from backburner.task import Kind, Task

LATER = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def app() -> Backburner:
    return Backburner("sqlite://")


def prepared(task: Task[..., Any], **options: Any) -> JobRecord:
    return task.using(**options).prepare([1], {})


def double(number: int) -> int:
    """Twice as much."""
    return 2 * number


async def triple(number: int) -> int:
    return 3 * number


def test_a_task_can_be_called_like_its_function(app: Backburner) -> None:
    task = app.task(double)
    assert task(21) == 42
    assert (task.__name__, task.__doc__) == ("double", "Twice as much.")


async def test_a_coroutine_task_can_be_awaited(app: Backburner) -> None:
    assert await app.task(triple)(14) == 42


def test_a_task_is_named_by_module_and_function(app: Backburner) -> None:
    assert app.task(double).name == f"{__name__}.double"
    assert app.task(name="shop.triple")(triple).name == "shop.triple"
    assert repr(app.tasks["shop.triple"]) == "<Task shop.triple>"


def test_a_nested_function_says_where_it_is_nested(app: Backburner) -> None:
    @app.task
    def nested() -> None: ...

    assert nested.name.endswith("is_nested.<locals>.nested")


def test_a_task_in_a_script_has_the_name_by_which_a_worker_imports_it(tmp_path: Path) -> None:
    script = tmp_path / "shop.py"
    script.write_text("from backburner.app import task_name\ndef mail(): ...\nprint(task_name(mail))\n")
    package = tmp_path / "store"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(script.read_text())
    (package / "tasks.py").write_text(script.read_text())

    def name(*command: str) -> str:
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert name("shop.py") == "shop.mail"
    assert name("-m", "store.tasks") == "store.tasks.mail"
    assert name("-m", "store") == "store.mail"


def test_a_task_imported_as_a_module_has_its_modules_name(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("def mail(): ...\n")
    module = runpy.run_path(str(tmp_path / "shop.py"), run_name="shop")
    assert task_name(module["mail"]) == "shop.mail"


def test_a_name_that_two_functions_claim_is_refused_with_both_places(app: Backburner) -> None:
    app.task(name="mail")(double)
    with pytest.raises(
        ConfigError, match=r"two functions claim the task name 'mail': .*test_task\.py:\d+ and .*"
    ):
        app.task(name="mail")(triple)


@pytest.mark.parametrize(
    ("function", "cpu", "kind"),
    [(double, False, Kind.THREAD), (double, True, Kind.PROCESS), (triple, False, Kind.COROUTINE)],
)
def test_where_a_task_runs_follows_from_its_function(
    app: Backburner, function: Any, cpu: bool, kind: Kind
) -> None:
    assert app.task(cpu=cpu)(function).kind is kind


def test_a_coroutine_does_not_run_in_a_process(app: Backburner) -> None:
    with pytest.raises(ConfigError, match="make it a `def`"):
        app.task(cpu=True)(triple)


def test_a_task_that_is_not_there_names_the_nearest(app: Backburner) -> None:
    app.task(name="shop.mail")(double)
    assert app.find_task("shop.mail").function is double
    with pytest.raises(TaskNotFound, match=r"did you mean 'shop\.mail'"):
        app.find_task("shop.mial")


def test_the_options_of_a_task_are_those_of_its_jobs(app: Backburner) -> None:
    @app.task(queue="mail", priority=10, tags=["a"], meta={"x": 1}, expires=60)
    def task(number: int) -> None: ...

    job = task.prepare([1], {})
    assert (job.queue, job.priority, job.expires_in, job.payload) == ("mail", 10, 60, b"[1]")
    assert job.options == Options(tags=("a",), meta={"x": 1})
    assert (job.delay, job.run_at, job.key) == (None, 0.0, None)


def test_using_changes_the_jobs_it_enqueues_and_nothing_else(app: Backburner) -> None:
    task = app.task(queue="mail", priority=10, meta={"x": 1})(double)
    retry = Retry(max_attempts=1)
    other = task.using(priority=-5, delay=60, idempotency_key="k", retry=retry, timeout=5, tags=("b",))
    job = other.prepare([1], {})
    assert (job.queue, job.priority, job.delay, job.key) == ("mail", -5, 60, "k")
    assert job.options == Options(retry=retry, timeout=5, tags=("b",), meta={"x": 1})
    assert task.prepare([1], {}).priority == 10
    assert other(21) == 42
    assert app.tasks[task.name] is task


def test_using_can_be_said_again(app: Backburner) -> None:
    task = app.task(double).using(delay=60).using(priority=3)
    assert (prepared(task).delay, prepared(task).priority) == (60, 3)
    later = task.using(run_after=LATER)
    assert (prepared(later).delay, prepared(later).run_at) == (None, LATER.timestamp())
    assert prepared(later.using(delay=5)).run_at == 0.0


def test_an_expiry_may_be_a_time_or_a_span(app: Backburner) -> None:
    task = app.task(double)
    assert (prepared(task, expires=60).expires_in, prepared(task, expires=60).expires_at) == (60, None)
    job = prepared(task, expires=LATER)
    assert (job.expires_in, job.expires_at) == (None, LATER.timestamp())


def test_every_job_has_an_id_of_its_own_and_ids_sort_by_time(app: Backburner) -> None:
    task = app.task(double)
    found = [task.prepare([1], {}).id for _ in range(1000)]
    assert len(set(found)) == 1000
    assert [each[:13] for each in found] == sorted(each[:13] for each in found)


def test_a_misspelt_option_names_the_nearest(app: Backburner) -> None:
    with pytest.raises(
        ConfigError, match=r"unknown option of task .*double 'prioritty'; did you mean 'priority'"
    ):
        app.task(prioritty=5)(double)  # type: ignore[call-overload]
    task = app.task(double)
    with pytest.raises(ConfigError, match="did you mean 'delay'"):
        task.using(dealy=5)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"unknown option .* 'cpu'"):
        task.using(cpu=True)  # type: ignore[call-arg]


WRONG: list[dict[str, Any]] = [
    {"priority": 101},
    {"priority": -101},
    {"priority": 1.5},
    {"priority": "high"},
    {"priority": True},
    {"queue": ""},
    {"queue": 5},
    {"queue": None},
    {"retry": 3},
    {"timeout": -1},
    {"timeout": "5"},
    {"timeout": math.nan},
    {"result_ttl": math.inf},
    {"expires": -1},
    {"expires": timedelta(seconds=5)},
    {"expires": datetime(2030, 1, 1)},  # noqa: DTZ001 - that is the mistake
    {"tags": "nightly"},
    {"tags": [1]},
    {"tags": ["half of a pair: \ud800"]},
    {"queue": "\ud800"},
    {"meta": ["x"]},
    {"meta": {"x": ...}},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_an_option_that_no_job_could_have_is_refused(app: Backburner, wrong: dict[str, Any]) -> None:
    [name] = wrong
    with pytest.raises(ConfigError, match=f"double: {name} .* not "):
        app.task(**wrong)(double)
    task = app.task(name="fine")(double)
    with pytest.raises(ConfigError, match=f"fine: {name} .* not "):
        task.using(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"delay": -1},
        {"delay": math.inf},
        {"delay": timedelta(seconds=5)},
        {"run_after": datetime(2030, 1, 1)},  # noqa: DTZ001 - that is the mistake
        {"run_after": 1.8e9},
        {"idempotency_key": ""},
        {"idempotency_key": 42},
    ],
    ids=str,
)
def test_an_option_that_no_enqueue_could_have_is_refused(app: Backburner, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} "):
        app.task(double).using(**wrong)


def test_a_job_starts_after_a_delay_or_at_a_time_but_not_both(app: Backburner) -> None:
    with pytest.raises(ConfigError, match="give delay= or run_after=, not both"):
        app.task(double).using(delay=5, run_after=LATER)


def test_no_time_limit_may_be_said(app: Backburner) -> None:
    assert app.task(timeout=None)(double).timeout is None


def test_a_task_may_be_enqueued_by_name_without_its_code(app: Backburner) -> None:
    task = app.named("shop.mail")
    assert (task.function, prepared(task, queue="mail").queue) == (None, "mail")
    assert task.prepare([1], {}).payload == b"[1]"
    assert task.prepare([1], {"b": 2}).payload == b'{"*":[1],"b":2}'


def test_by_name_a_task_that_is_here_keeps_its_options(app: Backburner) -> None:
    task = app.task(name="mail", queue="mail")(double)
    assert app.named("mail") is task


def test_tasks_do_not_share_their_options(app: Backburner) -> None:
    options: dict[str, Any] = {"meta": {"x": 1}, "tags": ["a"]}
    task = app.task(**options)(double)
    options["meta"]["x"] = 2
    options["tags"].append("b")
    assert task.prepare([1], {}).options == Options(tags=("a",), meta={"x": 1})


def test_a_decorator_may_be_used_twice(app: Backburner) -> None:
    decorate = app.task(queue="mail")
    assert {decorate(double).placement.queue, decorate(triple).placement.queue} == {"mail"}
