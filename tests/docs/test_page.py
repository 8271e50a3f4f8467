"""A writer of the documentation is told which block is wrong, and how."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.test_code_blocks import run_page


def session(tmp_path: Path, text: str) -> tuple[int, str]:
    page, folder = tmp_path / "page.md", tmp_path / "reader"
    page.write_text(text)
    folder.mkdir()
    done = run_page(page, folder)
    return done.returncode, done.stdout


def test_blocks_share_names_files_and_one_event_loop(tmp_path: Path) -> None:
    code, output = session(
        tmp_path,
        """
```python
# shop/prices.py
def price(item: str) -> int:
    return len(item)
```

```python
import asyncio
from shop.prices import price
task = asyncio.create_task(asyncio.sleep(0, result=price("tea")))
await asyncio.sleep(0)
```

1. And then:

   ```python
   assert await task == 3
   ```

```console
$ python -c 'from shop.prices import price; print("tea costs", price("tea"), "coins")'
tea costs … coins
$ sleep 60 &
```
""",
    )
    assert code == 0, output


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("```python\nx = 1\n1 / 0\n```\n", 2, "ZeroDivisionError"),
        ("words\n```python\n# shop.py\nimport nowhere\n```\n", 3, "No module named 'nowhere'"),
        ("```console\n$ true\n$ ls nowhere\n```\n", 2, "exit code"),
        ("```console\n$ echo one\ntwo\n```\n", 2, "did not print"),
        ("```pyhton\nx = 1\n```\n", 2, "'pyhton' is not a known block language"),
    ],
    ids=["error", "import", "exit-code", "output", "language"],
)
def test_a_broken_block_is_named_by_its_line(tmp_path: Path, text: str, line: int, reason: str) -> None:
    code, output = session(tmp_path, text)
    assert code != 0
    assert reason in output
    assert f"page.md:{line}: this block failed" in output


def test_a_traceback_points_into_the_page(tmp_path: Path) -> None:
    _, output = session(tmp_path, "\n\n```python\nx = 1\n1 / 0\n```\n")
    assert 'page.md", line 5' in output


def test_a_block_that_is_never_closed_is_an_error(tmp_path: Path) -> None:
    code, output = session(tmp_path, "words\n```python\nx = 1\n")
    assert code != 0
    assert "line 2: this block is never closed" in output
