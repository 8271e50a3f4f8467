"""PostgreSQL: one server, as durable as it is by default."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any, Self

import psycopg

from tests.servers.base import Server, wait_until
from tools.servers import POSTGRES


class PostgresServer(Server):
    """`settings` are those of postgresql.conf: `statement_timeout="1s"`. Whoever connects is trusted."""

    need = POSTGRES
    account = "postgres"
    stop_signal = signal.SIGINT  # "fast": it does not wait until its clients have gone

    def __init__(self, folder: Path | None = None, **settings: str | int) -> None:
        super().__init__(folder)
        self.settings = settings
        self.data = self.folder / "data"

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        if not self.data.exists():
            self._initdb()

    def _initdb(self) -> None:
        # --no-sync: this survives the death of every process, and of the machine it need not.
        options = ("--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C")
        self._run("initdb", "--pgdata", str(self.data), "--no-sync", *options)

    def _run(self, program: str, *arguments: str) -> None:
        made = subprocess.run(
            [str(self.program.resolve().with_name(program)), *arguments],
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user else None,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr

    def command(self) -> list[str]:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            **self.settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self.program), "-D", str(self.data), *options]

    def is_ready(self) -> bool:
        """It writes its process id first, and its state into the eighth line, of a file of its own."""
        lines = self._state()
        return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _state(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def execute(self, statement: str) -> Any:
        """The first value that it gives, if any."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            row = cursor.fetchone() if cursor.description else None
            return row and row[0]


class Standby(PostgresServer):
    """A copy of another server that follows it. From its start on that one waits for it at each commit."""

    def __init__(self, folder: Path | None, primary: PostgresServer, **settings: str | int) -> None:
        super().__init__(folder, **settings)
        self.primary = primary

    def _initdb(self) -> None:
        there = ("--host=127.0.0.1", f"--port={self.primary.port}", "--username=postgres")
        self._run("pg_basebackup", *there, f"--pgdata={self.data}", "--write-recovery-conf", "--no-sync")

    def start(self) -> Self:
        super().start()
        self.primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.primary.execute("SELECT pg_reload_conf()")
        in_step = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        wait_until(lambda: self.primary.execute(in_step) == 1, "the primary waits for its standby")
        return self

    def is_ready(self) -> bool:
        """A standby's own words in that file."""
        lines = self._state()
        return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() in ("ready", "standby")

    def promote(self) -> None:
        """Make it a primary, which waits for nobody."""
        self.execute("SELECT pg_promote()")
