"""Two nodes on one file."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from backburner import Backburner, State
from tests.faults.harness import effects, is_everything_done, node, stored, wait_until

JOBS = 2_000


@pytest.mark.xdist_group("heavy")
def test_two_nodes_share_the_work_and_do_each_job_once(app: Backburner, tmp_path: Path) -> None:
    with node(tmp_path, "--processes", "2") as one, node(tmp_path) as two:
        one.wait_ready(2)
        two.wait_ready()
        functions = app.named("fault_tasks.quick_function").enqueue_many([(0.01,)] * (JOBS // 2))
        coroutines = app.named("fault_tasks.quick").enqueue_many([(0.01,)] * (JOBS // 2))
        wait_until(partial(is_everything_done, app), "the jobs are done")
        pids = one.pids(), two.pids()
        assert one.stop() == two.stop() == 0
    jobs = stored(app)
    assert {(job.state, job.attempt, job.crashes) for job in jobs} == {(State.SUCCEEDED, 1, 0)}
    assert effects(tmp_path) == {job.id: 1 for job in (*functions, *coroutines)}
    workers = {int((job.worker or "").rsplit("-", 2)[1]) for job in jobs}
    assert all(workers & node_pids for node_pids in pids), "both have worked"
