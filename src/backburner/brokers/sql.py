"""SQL lives in `.sql` files: statements by name, and numbered migrations."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import NamedTuple


class Migration(NamedTuple):
    """One numbered step of a schema."""

    number: int
    name: str
    script: str


def statements(package: str, file: str = "queries.sql", **given: str) -> dict[str, str]:
    """The statements of a file by name.

    A block starts with a line `-- name: NAME`; `{OTHER}` inserts another block, or what is `given`.
    """
    text = (files(package) / file).read_text()
    blocks = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)[1:]
    found = dict(zip(blocks[::2], (block.strip().rstrip(";") for block in blocks[1::2]), strict=True))
    words = found | given
    return {name: re.sub(r"\{(\w+)\}", lambda m: words[m[1]], block) for name, block in found.items()}


def migrations(package: str) -> list[Migration]:
    """The migrations of a broker in order, from `migrations/NNNN_name.sql`."""
    found = []
    for file in (files(package) / "migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name)
        if match:
            found.append(Migration(int(match[1]), match[2], file.read_text()))
    return sorted(found)
