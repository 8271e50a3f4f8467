"""Fixtures for the tests of programs that use Backburner; pytest loads them wherever it is installed.

A module of its own, because every run of pytest imports it: the package itself is imported by those tests
only that ask for a fixture.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from backburner.testing import Clock


@pytest.fixture
def backburner_url(tmp_path: Path) -> str:
    """The URL of an empty queue in the test's own folder."""
    return f"sqlite:///{tmp_path}/backburner.db"


@pytest.fixture
def backburner_clock() -> Clock:
    """A clock that stands still until the test moves it: see `backburner.testing`."""
    from backburner.testing import Clock

    return Clock()
