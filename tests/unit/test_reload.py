from __future__ import annotations

import asyncio
import os
from itertools import count
from typing import TYPE_CHECKING

import pytest

from backburner.worker.reload import changed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SOON = 0.01  # seconds between looks


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A hidden folder holds the project, so that hiding counts only below it."""
    folder = tmp_path / ".projects" / "shop"
    (folder / "tasks").mkdir(parents=True)
    (folder / "app.py").write_text("1")
    (folder / "tasks" / "mail.py").write_text("1")
    for number in range(1000):
        (folder / "tasks" / f"old{number}.py").touch()
    return folder


def touch(path: Path, seconds: int) -> None:
    os.utime(path, (seconds, seconds))


async def seen(folder: Path, act: Callable[[int], object]) -> set[Path]:
    """What is reported when `act` goes on happening: it can come before the first look."""
    watching = asyncio.create_task(changed([folder], SOON))
    for number in count(1):
        act(number)
        done, _ = await asyncio.wait({watching}, timeout=SOON)
        if done:
            break
    return await watching


async def test_a_changed_file_is_reported(code: Path) -> None:
    assert await seen(code, lambda number: touch(code / "app.py", number)) == {code / "app.py"}


async def test_a_file_with_an_old_date_is_reported_too(code: Path) -> None:
    assert await seen(code, lambda number: touch(code / "app.py", -number)) == {code / "app.py"}


async def test_another_length_is_reported_though_the_date_is_the_same(code: Path) -> None:
    def write(number: int) -> None:
        draft = code / "draft"
        draft.write_text("x" * number)
        touch(draft, 1)
        draft.rename(code / "app.py")

    touch(code / "app.py", 1)
    assert await seen(code, write) == {code / "app.py"}


async def test_an_added_file_is_reported(code: Path) -> None:
    added = await seen(code, lambda number: (code / "tasks" / f"new{number}.py").touch())
    assert added
    assert all(path.name.startswith("new") for path in added)


async def test_a_removed_file_is_reported(code: Path) -> None:
    removed = await seen(code, lambda number: (code / "tasks" / f"old{number}.py").unlink())
    assert removed
    assert all(path.name.startswith("old") and not path.exists() for path in removed)


async def test_what_is_not_the_projects_code_is_not_reported(code: Path) -> None:
    others = [
        code / "notes.txt",
        code / ".git" / "hook.py",
        code / "tasks" / "__pycache__" / "mail.py",
        code / "web" / "node_modules" / "gyp" / "gyp.py",
        code / "env" / "lib" / "python3" / "pip.py",
        code / "vendor" / "site-packages" / "six.py",
    ]
    (code / "env").mkdir()
    (code / "env" / "pyvenv.cfg").touch()
    (code / "gone.py").symlink_to("nowhere")
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    def change_all(number: int) -> None:
        for path in [*others, code / "app.py"]:
            touch(path, number)

    assert await seen(code, change_all) == {code / "app.py"}


async def test_a_folder_that_does_not_exist_is_an_error(code: Path) -> None:
    for wrong in (code / "app.py", code / "missing"):
        with pytest.raises(NotADirectoryError, match=wrong.name):
            await changed([code, wrong], SOON)
