"""PostgreSQL: one server, as durable as it is by default."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from tests.servers.base import Server
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
        made = subprocess.run(
            [
                *(str(self.program.resolve().with_name("initdb")), "--pgdata", str(self.data), "--no-sync"),
                *("--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", "C"),
            ],
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
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready"
