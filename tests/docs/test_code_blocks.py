"""A reader who types the code of a page, from its top to its end, meets no error."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import psycopg
import pytest

from tests.servers.fixtures import installed
from tests.servers.shared import shared_postgres, shared_redis

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SECONDS = 45  # for a page; less than the time limit of a test, so that the page can say where it hung


def database() -> str:
    """An empty database on the shared server."""
    name = f"reader_{uuid.uuid4().hex}"
    with psycopg.connect(shared_postgres().url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return shared_postgres().url(name)


# What the environment of a reader names who has these servers.
SERVERS = {
    "DATABASE_URL": database,
    "REDIS_URL": lambda: f"{shared_redis().url}?prefix={uuid.uuid4().hex}",
}


def run_page(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a page in a process group of its own, and end with it whatever the page left in the background."""
    output = folder.parent / "output.txt"  # not a pipe, which what is left in the background would keep open
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": programs,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }
    for name, start in SERVERS.items():
        if name in page.read_text():
            environment[name] = installed(start)
    command = [sys.executable, "-m", "tests.docs.page", str(page), str(folder)]
    with output.open("w") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=file, stderr=file, start_new_session=True
        )
        try:
            process.wait(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            file.write(f"…and was still running after {SECONDS} seconds")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.wait(), output.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_block_of_the_page_runs(page: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    session = run_page(page, folder)
    assert session.returncode == 0, f"{page.relative_to(ROOT)} as a session:\n{session.stdout}"
