"""How a command finds its queue and its app, and what it says when it does not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backburner import Backburner
from tests.cli.helpers import Operator, dead_letters

COMMANDS = [
    ("stats",),
    ("jobs",),
    ("jobs", "show", "ID"),
    ("jobs", "cancel", "ID", "--yes"),
    ("dead",),
    ("dead", "show", "ID"),
    ("dead", "retry", "--queue", "nobody"),
    ("dead", "delete", "--queue", "nobody"),
    ("dead", "export"),
    ("queues",),
    ("queues", "pause", "mail"),
    ("queues", "resume", "mail"),
    ("schedules",),
    ("schedules", "next", "nightly"),
    ("schedules", "pause", "nightly"),
    ("schedules", "resume", "nightly"),
    ("schedules", "delete", "nightly", "--yes"),
    ("workers",),
    ("explain", "ID"),
    ("doctor",),
    ("migrate",),
]
EVERY = pytest.mark.parametrize("command", COMMANDS, ids=" ".join)


@EVERY
def test_the_queue_is_named_by_url_or_app_or_environment(
    folder: Path, operator: Operator, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """Where nothing is stored yet, each command says which path it looked at, and makes no file there."""
    (folder / "tasks.py").write_text(
        "from backburner import Backburner\napp = Backburner('sqlite:///app.db')\n"
    )
    monkeypatch.setenv("BACKBURNER_URL", "sqlite:///environment.db")
    ways = {
        "url.db": ["--url", "sqlite:///url.db"],
        "app.db": ["--app", "tasks:app"],
        "environment.db": [],
    }
    for name, options in ways.items():
        result = operator.type(*command, *options)
        assert [each for each in ways if each in result.output] == [name]
        assert result.exit_code == (0 if command == ("migrate",) else 1)
        if command not in {("doctor",), ("migrate",)}:
            [line] = result.stderr.splitlines()
            assert line.startswith(f"error: there is nothing at sqlite:///{name} yet: check the URL")
    made = {file.name for file in folder.glob("*.db")}
    assert made == ({*ways} if command == ("migrate",) else set())


def test_a_url_and_an_app_show_the_same_queue(
    app: Backburner, url: str, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    [job] = dead_letters(app, 7)
    by_environment = operator.json("jobs", "show", job.id)
    monkeypatch.setenv("BACKBURNER_URL", "sqlite:///elsewhere.db")
    assert operator.json("jobs", "show", job.id, "--url", url) == by_environment
    assert operator.json("jobs", "show", job.id, "--app", "shop:app") == by_environment


@EVERY
def test_without_a_queue_it_says_how_to_name_one(
    folder: Path, operator: Operator, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.delenv("BACKBURNER_URL")
    said = "no broker: give --url sqlite:///jobs.db or --app MODULE:APP, or set BACKBURNER_URL"
    assert operator.refused(*command, code=2) == said
    told = operator.refused(*command, "--url", "sqlite:///shop.db", "--app", "shop:app", code=2)
    assert told == "give --url or --app, not both"


def test_results_go_with_a_broker_that_keeps_none(folder: Path, operator: Operator) -> None:
    results = ("--results", "redis://localhost")
    told = operator.refused("jobs", "--url", "sqlite:///shop.db", *results, code=2)
    assert told.endswith("sqlite:// keeps their results by itself: leave results= out")
    told = operator.refused("jobs", "--app", "shop:app", *results, code=2)
    assert told == "give --results with --url: the app at --app says itself where its results are"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("shop.db", "'shop.db' is no broker URL: write it as in sqlite:///jobs.db"),
        ("sqlite:shop.db", "'sqlite:shop.db' is no broker URL: write it as in sqlite:///jobs.db"),
        ("sqlit:///shop.db", "unknown broker URL scheme 'sqlit'; did you mean 'sqlite'?"),
        ("mysql://localhost/shop", "unknown broker URL scheme 'mysql'; known: "),
        ("sqlite://shop.db", "'sqlite://shop.db' names no file: write sqlite:///shop.db for a file in"),
    ],
)
def test_a_url_that_names_no_broker(folder: Path, operator: Operator, given: str, said: str) -> None:
    for command in ("jobs", "doctor", "migrate"):
        assert operator.refused(command, "--url", given, code=2).startswith(said)


MODULES = {
    "wrong": "1 / 0\n",
    "half": "def half(:\n",
    "needy": "import no_such_package\n",
    "leaving": "import sys; sys.exit('DATABASE_URL is not set')\n",
    "wordy": "raise ValueError('two\\nlines')\n",
    "number": "app = 3\n",
    "twice": (
        "from backburner import Backburner\n"
        "app = Backburner('sqlite:///shop.db')\n"
        "@app.task(name='resize')\n"
        "def first(): ...\n"
        "@app.task(name='resize')\n"
        "def second(): ...\n"
    ),
    "late": (
        "from backburner import Backburner\n"
        "app = Backburner('sqlite:///shop.db')\n"
        "@app.cron('61 * * * *')\n"
        "@app.task\n"
        "def clean_up(): ...\n"
    ),
    "setting": "from backburner import Backburner\napp = Backburner('sqlite:///shop.db', leese=30)\n",
    "scheme": "from backburner import Backburner\napp = Backburner('mysql://localhost')\n",
}
WRONG_APPS = {
    "shop": "'shop' names no app: write MODULE:ATTRIBUTE, as in shop.tasks:app",
    "shop:": "'shop:' names no app: write MODULE:ATTRIBUTE",
    ":app": "':app' names no app: write MODULE:ATTRIBUTE",
    "nowhere:app": "no module 'nowhere' in {folder} or among the installed packages: run the command in the",
    "nowhere.tasks:app": "no module 'nowhere' in {folder} or among",
    "shop.tasks:app": "no module 'shop.tasks' in {folder} or among",
    "shop:ap": "unknown app 'shop:ap'; did you mean 'shop:app'?",
    "shop:clean_up": "unknown app 'shop:clean_up'; ",
    "number:app": "unknown app 'number:app'; known: none",
    "wrong:app": "module 'wrong' cannot be imported: ZeroDivisionError: division by zero; "
    "`python -c 'import wrong'` shows where",
    "half:app": "module 'half' cannot be imported: SyntaxError: invalid syntax (half.py, line 1); ",
    "needy:app": "module 'needy' cannot be imported: ModuleNotFoundError: No module named 'no_such_package'",
    "leaving:app": "module 'leaving' cannot be imported: SystemExit: DATABASE_URL is not set; `python -c ",
    "wordy:app": "module 'wordy' cannot be imported: ValueError: two lines; `python -c ",
    "twice:app": "two functions claim the task name 'resize': {folder}/twice.py:3 and {folder}/twice.py:5; "
    "give one of them name=",
    "late:app": "cron expression '61 * * * *': bad minute; give minute, hour, day of month",
    "setting:app": "unknown setting 'leese'; did you mean 'lease'?",
    "scheme:app": "unknown broker URL scheme 'mysql'; known: ",
}


@pytest.mark.parametrize(("path", "said"), WRONG_APPS.items(), ids=WRONG_APPS)
@pytest.mark.usefixtures("app")
def test_an_app_that_cannot_be_had(folder: Path, operator: Operator, path: str, said: str) -> None:
    for name, code in MODULES.items():
        (folder / f"{name}.py").write_text(code)
    for command in (("jobs", "--app", path), ("enqueue", path, "resize")):
        assert operator.refused(*command, code=2).startswith(said.format(folder=folder))


def test_an_app_in_a_package_of_the_current_folder(
    folder: Path, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in {"", str(Path.cwd())}])
    (folder / "store" / "work").mkdir(parents=True)
    (folder / "store" / "work" / "tasks.py").write_text(
        "from backburner import Backburner\n"
        "queue = Backburner('sqlite:///store.db')\n"
        "@queue.task\n"
        "def resize(): ...\n"
    )
    operator.read("enqueue", "store.work.tasks:queue", "store.work.tasks.resize")
    [job] = operator.json("jobs", "--app", "store.work.tasks:queue")
    assert job["task"] == "store.work.tasks.resize"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["stat"], "unknown command 'stat'; did you mean 'stats'?"),
        (["jobs", "sow"], "unknown command 'sow'; did you mean 'show'?"),
        (["dead", "revive", "1234"], "unknown command 'revive'; known: delete, export, list, retry, show"),
        (["jobs", "--stat", "dead"], "No such option"),
        (["jobs", "--state", "lost"], "Invalid value for '--state': 'lost' is not one of 'blocked', "),
        (["jobs", "--limit", "0"], "Invalid value for '--limit': 0 is not in the range"),
        (["jobs", "--limit", "9" * 20], f"Invalid value for '--limit': {'9' * 20} is not in the range"),
        (["jobs", "show"], "Missing argument 'ID'."),
        (["stats", "--minutes", "soon"], "Invalid value for '--minutes': 'soon' is not a valid float"),
        (["enqueue", "shop:app"], "Missing argument 'TASK'."),
        (["enqueue", "shop:app", "resize", "--priority", "300"], "Invalid value for '--priority': 300 is"),
        (["schedules", "next", "nightly", "--count", "many"], "Invalid value for '--count'"),
        (["worker", "shop:app", "--processes", "0"], "Invalid value for '--processes': 0 is not in"),
        (["worker"], "Missing argument 'APP'."),
        (["demo", "--uploads", "0"], "Invalid value for '--uploads': 0 is not in the range"),
    ],
    ids=" ".join,
)
def test_a_command_that_was_typed_wrong(operator: Operator, command: list[str], said: str) -> None:
    assert operator.misused(*command).startswith(said)


@pytest.mark.parametrize(
    ("queues", "said"),
    [
        ("a=3,b", "give every queue a weight, as in a=3,b=1, or none of them"),
        ("a=x", "queues are written as a,b or, with weights, as a=3,b=1; not 'a=x'"),
        ("a,,b", "queues are written as a,b or, with weights, as a=3,b=1; not ''"),
    ],
)
def test_queues_of_a_worker_that_make_no_sense(operator: Operator, queues: str, said: str) -> None:
    assert operator.refused("worker", "shop:app", "--queues", queues, code=2) == said


@pytest.mark.parametrize(
    "command",
    [
        "worker shop:app --grace inf",
        "stats --minutes nan",
        "stats --interval nan",
        "enqueue shop:app x --delay nan",
    ],
)
def test_a_number_is_finite(operator: Operator, command: str) -> None:
    words = command.split()
    assert operator.misused(*words).endswith(f": {words[-1]} is no number that can be used.")


def test_an_extra_that_is_missing(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIL", "uvicorn"):
        monkeypatch.setitem(sys.modules, name, None)
    said = operator.refused("demo", code=2)
    assert said == "the demo needs uvicorn, pillow: run pip install 'backburner[demo]'"


def test_every_command_says_what_it_is_for(operator: Operator) -> None:
    commands = [tuple(word for word in command if word.isalpha() and word.islower()) for command in COMMANDS]
    page = ""
    for command in [*commands, ("enqueue",), ("worker",), ("demo",), ()]:
        depth = 2 if command[:1] in {("jobs",), ("dead",), ("queues",), ("schedules",)} else 1
        page = operator.read(*command[:depth], "--help")
        assert page.startswith("Usage: ")
        assert "\n  --help" in page
    assert "Exit codes: 0 all right; 1 it failed, or there is no such thing; 2 wrong" in page
