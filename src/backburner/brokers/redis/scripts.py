"""Lua lives in `scripts/`, one file a method of the seam, and one for each thing that several of them need.

A line `-- {OTHER}` inserts another file, once a script: what that one inserts comes before it.
"""

from __future__ import annotations

import re
from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple

_FOLDER = files("backburner.brokers.redis") / "scripts"
_INSERT = re.compile(r"^-- \{(\w+)\}\n", re.MULTILINE)


class Script(NamedTuple):
    """A script with everything that it inserts, and the name by which a server knows it."""

    text: bytes
    sha: str


def _text(name: str, inserted: set[str]) -> str:
    def other(match: re.Match[str]) -> str:
        if match[1] in inserted:
            return ""
        inserted.add(match[1])
        return _text(match[1], inserted)

    return _INSERT.sub(other, (_FOLDER / f"{name}.lua").read_text())


def script(name: str) -> Script:
    """The script of that name, from its file."""
    text = _text(name, {name}).encode()
    return Script(text, sha1(text, usedforsecurity=False).hexdigest())
