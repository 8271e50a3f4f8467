"""A node that stands still for longer than its lease, as a machine does that hangs, and then goes on."""

from __future__ import annotations

from pathlib import Path

from backburner import Backburner, State
from tests.faults.harness import (
    effects,
    marks,
    node,
    open_gate,
    ran_by,
    started,
    wait_until,
)

SHORT = {"lease": 3.0, "heartbeat": 0.5}


def test_what_a_zombie_still_holds_is_fenced_off_and_it_goes_on_under_a_new_id(
    app: Backburner, tmp_path: Path
) -> None:
    ending = [app.enqueue(f"fault_tasks.{kind}", "soon") for kind in ("gated", "gated_function")]
    lasting = [app.enqueue(f"fault_tasks.{kind}", "later") for kind in ("gated", "gated_function")]
    ids = {job.id for job in lasting}
    with node(tmp_path, "--unresponsive", "2.5", settings=SHORT) as zombie:
        wait_until(lambda: started(tmp_path) == 4, "the jobs run")
        pids = zombie.pids()
        [old] = app.broker.run(app.broker.workers())
        zombie.freeze()
        with node(tmp_path, settings=SHORT) as other:
            wait_until(lambda: started(tmp_path) == 8, "another node runs them")
            [pid] = other.pids()
            # These end at the other node, and then at the zombie, too: nobody could prevent that effect.
            open_gate(tmp_path, "soon")
            assert [job.result(timeout=30) for job in ending] == [pid, pid]
            zombie.thaw()
            zombie.wait_said("had lost its lease")
            wait_until(lambda: ids <= set(marks(tmp_path, "dropped.txt")), "the zombie drops what it runs")
            open_gate(tmp_path, "later")
            assert [job.result(timeout=30) for job in lasting] == [pid, pid]
            assert other.stop() == 0
        [new] = app.broker.run(app.broker.workers())
        assert new.id != old.id
        more = app.enqueue("fault_tasks.gated", "later")
        assert more.result(timeout=30) in pids  # its process had not been silent: all of the node was
        assert zombie.stop() == 0
        assert "Traceback" not in zombie.said()
    jobs = [*ending, *lasting]
    assert {(job.refresh().state, job.record.crashes) for job in jobs} == {(State.SUCCEEDED, 1)}
    assert {ran_by(job) for job in jobs} == {pid}
    assert [attempt.outcome for job in jobs for attempt in job.history()] == ["crash"] * 4
    assert {effects(tmp_path)[job_id] for job_id in ids} == {1}
