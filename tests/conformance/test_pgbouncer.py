"""The part of the suite that a pooler could break, by way of PgBouncer in transaction mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from backburner.brokers.postgres.broker import PostgresBroker
from backburner.testing.conformance.crowds import *  # noqa: F403 - tests
from backburner.testing.conformance.kit import clock, other, runner, store  # noqa: F401 - fixtures
from backburner.testing.conformance.wakes import *  # noqa: F403 - tests
from tests.servers.pgbouncer import PgBouncer
from tests.servers.shared import shared_postgres
from tests.stores import MakeBroker, postgres_url


@pytest.fixture
def make_broker(pgbouncer: PgBouncer, tmp_path: Path) -> MakeBroker:
    url = postgres_url(tmp_path).replace(shared_postgres().url(), pgbouncer.url())
    return lambda now: PostgresBroker(url, now)
