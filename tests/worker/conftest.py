"""An app on a real SQLite file, and one whose tasks exist in all three kinds of executor."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backburner import Backburner, Retry
from tests.worker.helpers import Pipe

AT_ONCE = Retry(first=0, jitter=0)


@pytest.fixture
def make_app(tmp_path: Path) -> Iterator[Callable[..., Backburner]]:
    """Apps on one database: another web process, or a worker with other code."""
    made: list[Backburner] = []

    def make(**settings: Any) -> Backburner:
        made.append(Backburner(f"sqlite:///{tmp_path}/jobs.db", **{"retry": AT_ONCE, **settings}))
        return made[-1]

    yield make
    for app in made:
        app.close()


@pytest.fixture
def app(make_app: Callable[..., Backburner]) -> Backburner:
    return make_app()


@pytest.fixture
def kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module `kinds.py`, imported afresh on a database of its own."""
    monkeypatch.setenv("BACKBURNER_URL", f"sqlite:///{tmp_path}/kinds.db")
    module = importlib.import_module("tests.worker.kinds")
    yield module
    module.app.close()
    del sys.modules["tests.worker.kinds"]


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    pipe = Pipe(tmp_path / "from-job")
    yield pipe
    pipe.close()


@pytest.fixture
def answer(tmp_path: Path) -> Iterator[Pipe]:
    pipe = Pipe(tmp_path / "to-job")
    yield pipe
    pipe.close()
