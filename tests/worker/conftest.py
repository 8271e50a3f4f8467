"""An app on a real broker, on each of them, and one whose tasks exist in all three kinds of executor."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backburner import Backburner, Retry
from tests.servers.fixtures import installed
from tests.servers.shared import shared_rabbit
from tests.stores import URLS, sqlite_url
from tests.worker.helpers import Pipe

AT_ONCE = Retry(first=0, jitter=0)


RABBITMQ = "rabbitmq"


@pytest.fixture(params=[*URLS, RABBITMQ])
def broker_name(request: pytest.FixtureRequest) -> str:
    """A module whose subject is special to some brokers names these instead."""
    return str(request.param)


@pytest.fixture
def url(broker_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """RabbitMQ has a results store beside it, which every app of the test finds in the environment."""
    if broker_name != RABBITMQ:
        return installed(lambda: URLS[broker_name](tmp_path))
    server = installed(shared_rabbit)
    server.purge()
    monkeypatch.setenv("BACKBURNER_RESULTS", sqlite_url(tmp_path))
    # Classic queues, under names that all tests share: to make new ones takes longer than most tests.
    return f"{server.url}?queues=classic&prefix=worker"


@pytest.fixture
def make_app(url: str) -> Iterator[Callable[..., Backburner]]:
    """Apps on one store: another web process, or a worker with other code."""
    made: list[Backburner] = []

    def make(**settings: Any) -> Backburner:
        made.append(Backburner(url, **{"retry": AT_ONCE, **settings}))
        return made[-1]

    yield make
    for app in made:
        app.close()


@pytest.fixture
def app(make_app: Callable[..., Backburner]) -> Backburner:
    return make_app()


@pytest.fixture
def kinds(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module `kinds.py`, imported afresh."""
    monkeypatch.setenv("BACKBURNER_URL", url)
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
