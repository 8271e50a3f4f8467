"""SIGUSR1: claim nothing more, and claim again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from backburner import Backburner, State
from tests.faults.harness import effects, node, open_gate, started, wait_until

SHORT = {"lease": 10.0, "heartbeat": 0.5}  # so that what a heartbeat tells is seen soon


@pytest.mark.parametrize("whole_group", [False, True], ids=["to the command", "to all of its processes"])
def test_quiet_workers_end_what_they_run_and_claim_nothing_until_told_again(
    app: Backburner, tmp_path: Path, whole_group: bool
) -> None:
    def signalled() -> None:
        if whole_group:  # as `systemctl kill --signal=USR1` does
            os.killpg(workers.process.pid, signal.SIGUSR1)
        else:
            workers.process.send_signal(signal.SIGUSR1)

    running = [app.enqueue("fault_tasks.gated"), app.enqueue("fault_tasks.gated_cpu")]
    with node(tmp_path, settings=SHORT) as workers:
        wait_until(lambda: started(tmp_path) == 2, "the jobs run")
        pids = workers.pids()
        signalled()
        workers.wait_said("quiet: nothing more is claimed")
        wait_until(lambda: all(each.beat.quiet for each in app.inspector.workers()), "the others can see it")
        waiting = app.enqueue("fault_tasks.quick", 0.0)
        open_gate(tmp_path)
        for job in running:
            job.result(timeout=30)
        assert waiting.refresh().state is State.QUEUED
        signalled()
        waiting.result(timeout=30)
        assert workers.pids() == pids
        assert workers.stop() == 0
    assert effects(tmp_path) == {job.id: 1 for job in (*running, waiting)}
