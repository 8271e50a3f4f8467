"""What all servers have in common, seen on some of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from redis import TimeoutError as Slow

from tests.servers import base
from tests.servers.base import Missing, NotReady, Server, wait_gone, wait_still, wait_until
from tests.servers.fixtures import installed
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

MAKE: dict[str, Callable[[PostgresServer], Server]] = {
    "redis": lambda _: RedisServer(),
    "postgres": lambda _: PostgresServer(),
    "pgbouncer": lambda postgres: PgBouncer(None, postgres),
    "rabbitmq": lambda _: RabbitServer(),
}


@pytest.mark.parametrize("kind", MAKE)
def test_a_port_that_was_taken_meanwhile_is_replaced(
    kind: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        taken, free = other.getsockname()[1], base.free_port()
        ports = iter([taken, free])
        monkeypatch.setattr(base, "free_port", lambda: next(ports))
        with MAKE[kind](postgres_server) as server:
            assert server.port == free


def test_the_log_says_why_it_did_not_start(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="no-such-option"), RedisServer(tmp_path, "--no-such-option", "1"):
        pass


def test_a_frozen_server_answers_when_it_is_thawed() -> None:
    with RedisServer() as server, server.client() as client:
        client.connection_pool.connection_kwargs["socket_timeout"] = 0.5
        server.freeze()
        with pytest.raises(Slow):
            client.ping()
        server.thaw()
        assert client.ping()


def test_a_process_that_was_stopped_while_it_starts_another_stands_still(tmp_path: Path) -> None:
    """Its child was stopped before it ran its program, and the kernel holds the parent until it does."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # to open it is what the child waits for
    opens = f"file_actions=[(os.POSIX_SPAWN_OPEN, 0, {str(pipe)!r}, os.O_RDONLY, 0)]"
    program = f"import os; os.posix_spawn('/bin/true', ['true'], {{}}, {opens})"
    with subprocess.Popen([sys.executable, "-c", program]) as parent:
        process = psutil.Process(parent.pid)
        wait_until(lambda: process.status() == psutil.STATUS_DISK_SLEEP, "the parent starts its child")
        for each in (*process.children(), process):
            each.suspend()
        wait_still([process])
        for each in (*process.children(), process):
            each.kill()


def test_a_frozen_server_can_be_stopped() -> None:
    with RedisServer() as server:
        server.freeze()
        server.stop()
        assert not server.running


def test_a_temporary_folder_goes_with_its_server() -> None:
    with RedisServer() as server:
        assert server.folder.exists()
    assert not server.folder.exists()


@pytest.mark.parametrize("shared", ["shared_redis", "shared_rabbit"])
def test_no_server_outlives_the_process_that_started_it(shared: str) -> None:
    code = f"from tests.servers.shared import {shared}; print({shared}().pid, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout
        server = psutil.Process(int(owner.stdout.readline()))
        family = [server, *server.children(recursive=True)]
        folder = Path(server.cwd())
        owner.send_signal(signal.SIGKILL)
    wait_gone(family)
    (folder / "log").unlink()
    subprocess.run(["rm", "-r", str(folder)], check=True)


def test_a_missing_server_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(
        pytest.skip.Exception, match="sudo apt-get install --no-install-recommends redis-server"
    ):
        installed(RedisServer)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(Missing, match="sudo apt-get install --no-install-recommends redis-server"):
        installed(RedisServer)


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_the_tool_says_what_is_missing(tmp_path: Path, ci: str, code: int) -> None:
    environment = {**os.environ, "PATH": str(tmp_path), "CI": ci}
    said = subprocess.run(
        [sys.executable, "-m", "tools.servers"], env=environment, capture_output=True, text=True, check=False
    )
    assert said.returncode == code
    assert "sudo apt-get install --no-install-recommends redis-server" in said.stderr
