"""What an orchestrator and the service manager are told of a worker's life."""

from __future__ import annotations

import socket
from functools import partial
from pathlib import Path

from backburner import Backburner
from tests.faults.harness import Node, node, open_gate, started, wait_until

SLOW_TO_LOAD = """
import time
from pathlib import Path

while not Path("loaded").exists():
    time.sleep(0.01)
from fault_tasks import app
"""
PROBED = ("--health", "127.0.0.1:0")


def is_ready(running: Node) -> bool:
    return running.ask("/ready")[0] == 200


def test_probes_and_service_manager_follow_a_node_from_loading_to_its_end(
    app: Backburner, tmp_path: Path
) -> None:
    (tmp_path / "shop.py").write_text(SLOW_TO_LOAD)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        # A sign of life a second: the kernel keeps ten messages that nobody reads yet, and drops the next.
        systemd = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "2000000"}
        with node(tmp_path, *PROBED, app="shop:app", environment=systemd) as running:
            assert running.ask("/ready") == (
                503,
                {"ready": False, "reasons": ["0 of 1 worker processes have started"]},
            )
            assert running.ask("/live")[0] == 200
            assert manager.recv(100) == b"WATCHDOG=1"
            open_gate(tmp_path, "loaded")
            assert heard(manager, b"READY=1") <= {b"WATCHDOG=1"}
            assert is_ready(running)
            job = app.enqueue("fault_tasks.gated")
            wait_until(lambda: started(tmp_path) == 1, "the job runs")
            wait_until(partial(shows, running, running=1, finished=0), "the status shows the job")
            running.process.terminate()
            assert heard(manager, b"STOPPING=1") <= {b"WATCHDOG=1"}
            assert running.ask("/ready") == (503, {"ready": False, "reasons": ["stopping"]})
            assert running.ask("/live")[0] == 200
            open_gate(tmp_path)
            assert running.process.wait(30) == 0
    assert job.refresh().state == "succeeded"


def heard(manager: socket.socket, message: bytes) -> set[bytes]:
    """What came before that message."""
    before = set()
    while (received := manager.recv(100)) != message:
        before.add(received)
    return before


def shows(workers: Node, **counts: int) -> bool:
    """Whether /status gives these counts of the one worker process."""
    code, body = workers.ask("/status")
    [worker] = body["details"]["workers"]
    assert code == 200
    assert worker["pid"] in workers.pids()
    return {name: worker[name] for name in counts} == counts


def test_a_node_is_not_ready_while_one_of_its_processes_is_missing(app: Backburner, tmp_path: Path) -> None:
    with node(tmp_path, *PROBED, "--processes", "2") as running:
        wait_until(partial(is_ready, running), "both have started")
        victim = running.children()[0]
        victim.kill()
        wait_until(lambda: not is_ready(running), "one is missing")
        wait_until(partial(is_ready, running), "it is replaced")
        assert victim.pid not in running.pids()
        assert running.stop() == 0
