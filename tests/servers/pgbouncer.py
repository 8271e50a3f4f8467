"""PgBouncer in front of a PostgreSQL server: a connection is a client's for one transaction only."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.servers.base import Server
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy
from tools.servers import PGBOUNCER


class PgBouncer(Server):
    """`settings` are those of its [pgbouncer] section: `default_pool_size=2`. Whoever connects is trusted."""

    need = PGBOUNCER
    account = "postgres"
    stop_signal = signal.SIGKILL  # it has nothing to lose, and newer ones would wait for their clients

    def __init__(self, folder: Path | None, server: PostgresServer | Proxy, **settings: str | int) -> None:
        super().__init__(folder)
        self.server = server
        self.settings = settings

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        (self.folder / "users").write_text('"postgres" ""\n')
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "trust",
            "auth_file": self.folder / "users",
            "admin_users": "postgres",
            "pool_mode": "transaction",
            "server_login_retry": 1,  # seconds until it looks again for a server that was away; 15 by default
            **self.settings,
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        databases = f"[databases]\n* = host=127.0.0.1 port={self.server.port}\n"
        (self.folder / "pgbouncer.ini").write_text("\n".join([databases, "[pgbouncer]", *lines, ""]))

    def command(self) -> list[str]:
        return [str(self.program), str(self.folder / "pgbouncer.ini")]

    def is_ready(self) -> bool:
        """It says so once it listens."""
        return self.has_said("process up")
