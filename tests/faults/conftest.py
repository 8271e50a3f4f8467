from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backburner import Backburner


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Backburner]:
    """The app of `fault_tasks`, as a producer sees it."""
    producer = Backburner(f"sqlite:///{tmp_path}/jobs.db")
    yield producer
    producer.close()
