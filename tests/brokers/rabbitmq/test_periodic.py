"""Periodic tasks on RabbitMQ alone: each fire comes once on two nodes, of which the firing one is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.harness import effects, node, wait_until

APP = """
import os
from backburner import Backburner
from fault_tasks import leave_mark

app = Backburner(os.environ["FAULTS_URL"])

@app.every(1)
@app.task
async def tick() -> None:
    leave_mark()
"""


@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(120)
def test_each_fire_comes_once_and_another_node_goes_on(rabbit_url: str, tmp_path: Path) -> None:
    (tmp_path / "ticking.py").write_text(APP)
    environment = {"FAULTS_URL": rabbit_url}
    with node(tmp_path, app="ticking:app", environment=environment) as first:
        first.wait_ready()
        wait_until(lambda: len(effects(tmp_path)) >= 1, "the first node fires")
        with node(tmp_path, app="ticking:app", environment=environment) as second:
            second.wait_ready()
            fired = len(effects(tmp_path))
            wait_until(lambda: len(effects(tmp_path)) >= fired + 4, "it goes on beside another one")
            first.vanish()
            *_, last = effects(tmp_path)
            fired = len(effects(tmp_path))
            wait_until(lambda: len(effects(tmp_path)) >= fired + 4, "the other one fires")
            assert second.stop() == 0
    again = {job_id for job_id, count in effects(tmp_path).items() if count > 1}
    assert again <= {last}, "the one that had not quite ended on the killed node may run again"
