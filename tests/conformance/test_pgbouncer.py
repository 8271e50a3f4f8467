"""The part of the suite that a pooler could break, by way of PgBouncer in transaction mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from backburner.testing.conformance.crowds import *  # noqa: F403 - tests
from backburner.testing.conformance.kit import clock, other, runner, store  # noqa: F401 - fixtures
from backburner.testing.conformance.wakes import *  # noqa: F403 - tests
from tests.servers.pgbouncer import PgBouncer
from tests.stores import MakeBroker, postgres_at


@pytest.fixture
def make_broker(pgbouncer: PgBouncer, tmp_path: Path) -> MakeBroker:
    return postgres_at(pgbouncer.url())
