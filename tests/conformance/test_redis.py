"""The shipped suite over Redis, with every write on disk before it is acknowledged."""

from __future__ import annotations

from pathlib import Path

import pytest

from backburner.testing.conformance import *  # noqa: F403 - the suite
from tests.servers.redis import RedisServer
from tests.stores import STORES, MakeBroker


@pytest.fixture
def make_broker(redis_server: RedisServer, tmp_path: Path) -> MakeBroker:
    return STORES["redis"](tmp_path)
