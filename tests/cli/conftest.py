"""A shop with a queue, in a folder of its own, and its operator at the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backburner import Backburner
from backburner.loading import load_app
from tests.cli.helpers import Operator

SHOP = """
from backburner import Backburner, Retry

app = Backburner("sqlite:///shop.db", max_payload=1000)
app.queue("images", max_length=5)


@app.task(queue="images")
def make_thumbnail(photo_id: int, size: int = 64, *, suffix: str = "jpg") -> str:
    return f"{photo_id}-{size}.{suffix}"


@app.task(queue="mail", retry=Retry(never=(ValueError,)))
def send_mail(user_id: int) -> None:
    raise ValueError(f"user {user_id} has no address")


@app.cron("0 3 * * *", name="nightly")
@app.task
def clean_up() -> None: ...
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder; what is imported from it is forgotten afterwards, and so is the import path."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(folder):
            del sys.modules[name]


@pytest.fixture
def app(folder: Path) -> Iterator[Backburner]:
    """The shop's app, `shop:app`, with its tasks and an empty database."""
    (folder / "shop.py").write_text(SHOP)
    app = load_app("shop:app")
    app.broker.migrate()
    yield app
    app.close()


@pytest.fixture
def url(folder: Path) -> str:
    return f"sqlite:///{folder}/shop.db"


@pytest.fixture
def operator(url: str, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """Types commands; BACKBURNER_URL names the shop's queue."""
    monkeypatch.setenv("BACKBURNER_URL", url)
    return Operator()
