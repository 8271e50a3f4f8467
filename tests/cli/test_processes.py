"""The real program: found on the path, in pipes, on a terminal, and as a worker."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import termios
from contextlib import closing
from fcntl import ioctl
from pathlib import Path

import pytest

from backburner import Backburner
from tests.cli.helpers import dead_letters

PROGRAM = [str(Path(sys.executable).with_name("backburner"))]
MODULE = [sys.executable, "-m", "backburner"]
SECONDS = 50


def ran(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)


@pytest.mark.parametrize("program", [PROGRAM, MODULE], ids=["program", "module"])
def test_a_job_is_enqueued_run_and_shown(app: Backburner, url: str, program: list[str]) -> None:
    """Neither the program's folder nor an installed package has `shop.py`: it is in the current folder."""
    enqueued = ran(*program, "enqueue", "shop:app", "shop.make_thumbnail", "42")
    assert (enqueued.returncode, enqueued.stderr) == (0, "")
    worker = ran(*program, "worker", "shop:app", "--drain", "--threads", "2")
    assert (worker.returncode, worker.stdout) == (0, ""), worker.stderr
    shown = ran(*program, "jobs", "show", enqueued.stdout.strip(), "--url", url, "--json")
    assert (shown.returncode, shown.stderr) == (0, "")
    found = json.loads(shown.stdout)
    assert (found["state"], found["result"]) == ("succeeded", "42-64.jpg")


def test_a_worker_warns_of_a_queue_that_no_task_belongs_to(app: Backburner) -> None:
    worker = ran(*MODULE, "worker", "shop:app", "--drain", "--queues", "default,defualt")
    assert worker.returncode == 0
    assert (
        "no task of the app belongs to queue defualt: is the name right? Its tasks belong to "
        in worker.stderr
    )
    assert "queue default:" not in worker.stderr


@pytest.mark.parametrize("command", ["jobs --json --limit 1000", "jobs --limit 1000", "dead export"])
def test_whoever_reads_may_stop_before_the_end(
    app: Backburner, url: str, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # with it Python itself hides a reader's end
    app.tasks["shop.clean_up"].enqueue_many([()] * 1000)
    with closing(sqlite3.connect("shop.db")) as connection:
        connection.execute("UPDATE backburner_jobs SET state = 'dead', reason = ?", ["so it goes " * 10])
        connection.commit()
    line = f"{' '.join(MODULE)} {command} --url {url}"
    piped = ran("bash", "-c", f"{line} | head -n 1; echo ${{PIPESTATUS[0]}}")
    first, code = piped.stdout.splitlines()
    assert first[:2] in {"[", "ID", '{"'}
    assert (code, piped.stderr) == ("1", "")


def test_figures_are_watched_until_ctrl_c(app: Backburner, url: str) -> None:
    command = [*MODULE, "stats", "--watch", "--interval", "0.1", "--url", url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        frames = 0
        while frames < 3:
            frames += process.stdout.readline().startswith("0 workers, ")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, errors) == (0, "")


def on_a_terminal(columns: int, *command: str) -> str:
    """What a command shows on a terminal of that width."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "COLUMNS"}}
    environment |= {"TERM": "xterm-256color"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:  # how a terminal says that nobody writes to it any more
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0, shown
    return shown.decode()


def test_a_table_fits_a_narrow_terminal_in_colour(app: Backburner, url: str) -> None:
    [job] = dead_letters(app, 7)
    shown = on_a_terminal(80, *MODULE, "jobs", "--url", url)
    assert "\x1b[31mdead" in shown
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()
    assert max(map(len, plain)) <= 80
    assert job.id in plain[1]
    assert "has no address" in " ".join(line.strip() for line in plain[1:])


REFUSED = {
    "nowhere:app": (2, "no module 'nowhere' in {folder} or among the installed packages"),
    "leaving:app": (2, "module 'leaving' cannot be imported: SystemExit: DATABASE_URL is not set; "),
    "newer:app": (1, "{folder}/newer.db has schema 99, made by a newer Backburner"),
}


@pytest.mark.parametrize("path", REFUSED)
def test_a_worker_that_cannot_start_says_why_and_ends(folder: Path, path: str) -> None:
    (folder / "leaving.py").write_text("import sys; sys.exit('DATABASE_URL is not set')\n")
    (folder / "newer.py").write_text(
        "from backburner import Backburner\napp = Backburner('sqlite:///newer.db')\n"
    )
    with closing(sqlite3.connect("newer.db")) as connection:
        connection.execute("CREATE TABLE backburner_schema (number INTEGER)")
        connection.execute("INSERT INTO backburner_schema VALUES (99)")
        connection.commit()
    code, said = REFUSED[path]
    worker = ran(*MODULE, "worker", path)
    [line] = worker.stderr.splitlines()
    assert (worker.returncode, worker.stdout) == (code, "")
    assert f" error: {said.format(folder=folder)}" in line


@pytest.mark.parametrize("given", ["nonsense", "127.0.0.1:{port}"], ids=["nonsense", "taken"])
def test_a_worker_that_cannot_serve_its_health(app: Backburner, given: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = given.format(port=taken.getsockname()[1])
        worker = ran(*MODULE, "worker", "shop:app", "--health", address)
    [line] = worker.stderr.splitlines()
    assert worker.returncode == 2
    assert f" error: cannot serve health on '{address}': " in line
    assert "give another HOST:PORT" in line
