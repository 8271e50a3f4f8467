"""A short selection of `make chaos`, the same each time: see `chaos/`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from chaos import report
from chaos.faults import NODE_FAULTS, Fault, lanes
from chaos.run import run
from chaos.sites import SITES, Site, Way
from tests.servers.fixtures import installed
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer

SECONDS = 20.0
SEED = 7


def quietly(_: str) -> None:
    """Progress is for people."""


@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("broker", ["sqlite", "redis"])
def test_no_promise_breaks_while_everything_is_broken(
    broker: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = installed(partial(run, broker, SECONDS, SEED, quietly))
    with capsys.disabled():
        print(f"\n{report.text(outcome)}")
    assert not outcome.broken
    assert outcome.accepted > 0
    assert outcome.worker_kills > 0
    assert outcome.broker_kills > 0


@contextmanager
def forgetful(_: Path) -> Iterator[Site]:
    """A Redis that keeps nothing on disk."""
    with RedisServer(None, "--appendonly", "no") as server, Proxy(server.port) as proxy:
        site = Site("forgetful", "no file", [server], [proxy])
        site.direct, site.through = Way(server.url), Way(proxy.url(server.url))
        yield site


@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(300)
def test_a_broker_that_forgets_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SITES, "forgetful", forgetful)
    outcome = installed(partial(run, "forgetful", SECONDS / 2, SEED, quietly))
    assert outcome.broker_kills > 0
    assert any("it was accepted, and is not stored: it is lost" in each for each in outcome.broken)


def test_a_seed_repeats_the_plan() -> None:
    for lane in lanes(server=True, nodes=2, seconds=600):
        plan = [*islice(lane.steps(1), 50)]
        assert plan == [*islice(lane.steps(1), 50)]
        assert plan != [*islice(lane.steps(2), 50)]
        assert all(lane.pause[0] <= step.pause <= lane.pause[1] for step in plan)


def test_ten_minutes_are_enough_for_every_fault() -> None:
    for server in (True, False):
        chosen = lanes(server=server, nodes=2, seconds=600)
        planned = {step.fault for lane in chosen for step in islice(lane.steps(1), 100)}
        broker = {Fault.BROKER, *(fault for lane in chosen if lane.name == "network" for fault in lane.mix)}
        assert {*NODE_FAULTS, Fault.MEMORY, Fault.PRODUCER} < planned
        assert planned >= (broker if server else {Fault.ALL, Fault.LOCK})
