from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import pytest

from backburner.worker.notify import Notify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.environment = {"NOTIFY_SOCKET": address}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(30)

    def received(self) -> str:
        return self.socket.recv(4096).decode()

    async def next(self) -> str:
        self.socket.setblocking(False)
        return (await asyncio.get_running_loop().sock_recv(self.socket, 4096)).decode()


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = str(tmp_path / "notify")
    manager = Manager(name if request.param == "file" else f"@{name}")
    yield manager
    manager.socket.close()


def test_systemd_hears_of_each_step(manager: Manager) -> None:
    notify = Notify(manager.environment)
    notify.ready()
    assert manager.received() == "READY=1"
    notify.status("12 jobs running")
    assert manager.received() == "STATUS=12 jobs running"
    notify.stopping()
    assert manager.received() == "STOPPING=1"


def test_a_status_cannot_smuggle_in_another_message(manager: Manager) -> None:
    Notify(manager.environment).status("running\nMAINPID=1\n")
    assert manager.received() == "STATUS=running MAINPID=1"


async def test_the_watchdog_is_fed_while_the_worker_is_alive(manager: Manager) -> None:
    asked: list[int] = []

    def alive() -> bool:
        asked.append(len(asked))
        if len(asked) == 5:
            enough.set()
        return len(asked) <= 2

    enough = asyncio.Event()
    mine = {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": str(os.getpid())}
    feeding = asyncio.create_task(Notify(manager.environment | mine).watchdog(alive))
    assert [await manager.next(), await manager.next()] == ["WATCHDOG=1", "WATCHDOG=1"]
    await enough.wait()
    feeding.cancel()
    with pytest.raises(BlockingIOError):
        manager.received()


@pytest.mark.parametrize(
    "watchdog", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}]
)
async def test_no_watchdog_is_fed_that_was_not_asked_of_this_process(
    manager: Manager, watchdog: dict[str, str]
) -> None:
    await Notify(manager.environment | watchdog).watchdog(lambda: True)
    manager.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.received()


async def test_without_systemd_nothing_is_sent_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    notify = Notify({"WATCHDOG_USEC": "20000"})
    notify.ready()
    await notify.watchdog(lambda: True)
    assert caplog.records == []


def test_the_environment_of_the_process_is_the_default(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", manager.environment["NOTIFY_SOCKET"])
    Notify().ready()
    assert manager.received() == "READY=1"


@pytest.mark.parametrize("address", ["/nowhere/notify", "/" + "x" * 200, "vsock:2:1234"])
def test_a_manager_that_cannot_be_reached_costs_a_warning(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    Notify({"NOTIFY_SOCKET": address}).ready()
    assert "cannot send READY=1 to NOTIFY_SOCKET" in caplog.text
    assert address in caplog.text


def test_a_manager_that_does_not_listen_never_holds_the_worker_up(
    manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    notify = Notify(manager.environment)
    while not caplog.records:  # until the socket is full
        notify.ready()
    assert "cannot send" in caplog.text
