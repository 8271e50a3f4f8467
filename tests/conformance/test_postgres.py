"""The shipped suite over PostgreSQL, as durable as it is by default."""

from __future__ import annotations

from pathlib import Path

import pytest

from backburner.testing.conformance import *  # noqa: F403 - the suite
from tests.servers.postgres import PostgresServer
from tests.stores import STORES, MakeBroker


@pytest.fixture
def make_broker(postgres_server: PostgresServer, tmp_path: Path) -> MakeBroker:
    return STORES["postgres"](tmp_path)
