"""What `import backburner` costs, and what it gives: counted, so that it says the same on any machine."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import backburner

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"asyncio", "sqlite3", "ssl", "subprocess", "multiprocessing", "concurrent", "http", "email"}
COMMAND_LINE = {"click", "rich"}
PROBE = """
import sys
before = set(sys.modules)
{code}
print(*sorted(set(sys.modules) - before))
"""


def imported(code: str) -> set[str]:
    """The modules that `code` brings into a fresh interpreter."""
    probe = [sys.executable, "-I", "-c", PROBE.format(code=code)]
    return set(subprocess.run(probe, capture_output=True, text=True, check=True).stdout.split())


def packages(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def own(modules: set[str]) -> set[str]:
    """The folders and the modules right below `backburner`."""
    return {name.split(".")[1] for name in modules if name.startswith("backburner.")}


def brokers(modules: set[str]) -> set[str]:
    """The folders and the modules right below `backburner.brokers`."""
    return {name.split(".")[2] for name in modules if name.startswith("backburner.brokers.")}


def test_importing_the_package_brings_little_with_it() -> None:
    found = imported("import backburner")
    assert not packages(found) & (HEAVY | COMMAND_LINE)
    outside = {name for name in packages(found) - sys.stdlib_module_names if not name.startswith("_")}
    assert outside <= {"backburner", "msgspec", "cronsim", "typing_extensions"}
    assert len(found) < 150


def test_an_app_brings_its_own_broker_and_nothing_of_the_worker_or_the_command_line() -> None:
    assert not brokers(imported("import backburner")) - {"base"}
    found = imported(
        "from backburner import Backburner\nBackburner('sqlite:///jobs.db').task(name='t')(lambda: None)"
    )
    assert brokers(found) == {"base", "flaws", "sql", "sqlite"}
    assert not own(found) & {"cli", "demo", "doctor", "explain", "inspector", "stats", "testing", "worker"}
    assert not packages(found) & (COMMAND_LINE | {"multiprocessing", "http", "email"})


@pytest.mark.parametrize(
    ("code", "without"),
    [
        ("import backburner.cli", {"asyncio", "rich", "sqlite3"}),
        ("import backburner.cli.jobs, backburner.cli.stats, backburner.cli.worker", {"rich", "sqlite3"}),
    ],
)
def test_a_command_that_draws_nothing_does_without_the_tables(code: str, without: set[str]) -> None:
    assert not packages(imported(code)) & without


def test_every_public_name_is_there_and_sorted() -> None:
    assert backburner.__all__ == sorted(backburner.__all__)
    missing = [name for name in backburner.__all__ if not hasattr(backburner, name)]
    assert not missing
    assert imported("from backburner import *\nassert Backburner and Retry and events and current_job")


def test_the_names_that_the_documentation_imports_are_public() -> None:
    """A reader who copies a block of the README or of a page gets no private name."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    shown = [
        name.strip()
        for page in pages
        for names in re.findall(r"^from backburner import (.+)$", page.read_text(), re.MULTILINE)
        for name in names.split(",")
    ]
    assert {"Backburner", "Retry", "current_job"} <= set(shown) <= set(backburner.__all__)


def test_a_public_class_says_what_it_is() -> None:
    for name in backburner.__all__:
        assert getattr(backburner, name).__doc__, name
