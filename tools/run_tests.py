"""Run every test on this interpreter, then the core tests on each other supported Python on the machine.

1. Run pytest here on all of tests/, or only on the arguments given (then nothing else is run).
2. Find the other supported Pythons, on the PATH and among pyenv's.
3. Give each its own .venv-3.X, installed anew when pyproject.toml has changed, and run the core tests in it.
4. Print what ran where, and the total. Exit 1 when anything failed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
SUPPORTED = ("3.11", "3.12", "3.13")
# What an interpreter can change. The rest (browser, type checkers, documents) is run once.
CORE = (
    *("tests/unit", "tests/conformance", "tests/stateful", "tests/brokers"),
    "tests/worker/test_coroutines.py",
)
# They wait for a server more than they run Python, and take minutes. Its shipped suite runs on each Python.
ONCE = ("tests/conformance/test_rabbitmq_results.py", "tests/brokers/rabbitmq")


class Run(NamedTuple):
    """What one pytest run came to."""

    name: str
    passed: int
    failed: int
    skipped: int
    seconds: float


def pytest(name: str, python: Path, arguments: list[str]) -> Run:
    print(f"\nPython {name}: pytest {' '.join(arguments)}", flush=True)
    workers = min(4, os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        options = [f"--numprocesses={workers}", "--dist=loadgroup", f"--junitxml={report}"]
        started = time.monotonic()
        command = [str(python), "-m", "pytest", *options, *arguments]
        exit_code = subprocess.run(command, cwd=ROOT, check=False).returncode
        seconds = time.monotonic() - started
        # S314 warns of XML from strangers: this is our own.
        suite = ElementTree.parse(report).getroot()[0].attrib if report.exists() else {}  # noqa: S314
    total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
    failed = int(suite.get("errors", 0)) + int(suite.get("failures", 0))
    passed = total - skipped - failed
    # A run that broke before its first test has failed, too.
    return Run(name, passed, failed or int(exit_code != 0), skipped, seconds)


def version(python: Path) -> str | None:
    """The "3.12" of an interpreter, or None when it does not start (a pyenv shim of a version not chosen)."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else None


def other_interpreters() -> dict[str, Path]:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    found: dict[str, Path] = {}
    for wanted in SUPPORTED:
        on_path = [Path(p) for p in [shutil.which(f"python{wanted}")] if p]
        from_pyenv = sorted(Path.home().glob(f".pyenv/versions/{wanted}.*/bin/python{wanted}"))
        python = next((p for p in [*on_path, *from_pyenv] if version(p) == wanted), None)
        if python and wanted != here:
            found[wanted] = python
    return found


def environment(name: str, python: Path) -> Path:
    """The interpreter of .venv-3.X with the package and its test tools installed."""
    folder = ROOT / f".venv-{name}"
    ready = folder / "ready"
    if not ready.exists() or ready.stat().st_mtime < (ROOT / "pyproject.toml").stat().st_mtime:
        print(f"\nInstalling the test tools for Python {name} into {folder.name} …", flush=True)
        subprocess.run([str(python), "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--editable", ".[test]"], cwd=ROOT, check=True)
        ready.touch()
    return folder / "bin/python"


def main(arguments: list[str]) -> int:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    runs = [pytest(here, Path(sys.executable), arguments or ["tests"])]
    if not arguments:
        core = [folder for folder in CORE if (ROOT / folder).exists()]
        others = other_interpreters()
        core += [f"--ignore={path}" for path in ONCE]
        runs += [pytest(name, environment(name, python), core) for name, python in others.items()]
        if not others:
            print(f"\nNo other Python of {', '.join(SUPPORTED)} found: tested on {here} only.")
    print()
    for run in runs:
        skipped = f", {run.skipped} skipped" if run.skipped else ""
        print(f"Python {run.name}: {run.passed} passed, {run.failed} failed{skipped} in {run.seconds:.0f} s")
    print(f"{sum(run.passed for run in runs)} passed, {sum(run.failed for run in runs)} failed")
    return 1 if any(run.failed for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
