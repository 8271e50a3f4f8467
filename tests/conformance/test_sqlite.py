"""The shipped suite over SQLite, on a file and in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from backburner.testing.conformance import *  # noqa: F403 - the suite
from tests.stores import STORES, MakeBroker


@pytest.fixture(params=["sqlite-file", "sqlite-memory"])
def make_broker(request: pytest.FixtureRequest, tmp_path: Path) -> MakeBroker:
    return STORES[request.param](tmp_path)
