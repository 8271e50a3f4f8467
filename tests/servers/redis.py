"""Redis: one server, with every write on disk before it is acknowledged."""

from __future__ import annotations

from pathlib import Path

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.base import Server
from tests.servers.certificates import Certificates
from tools.servers import REDIS


class RedisServer(Server):
    """`options` are those of redis-server's command line: `"--maxmemory", "10mb"`."""

    need = REDIS

    def __init__(
        self, folder: Path | None = None, *options: str, password: str | None = None, tls: bool = False
    ) -> None:
        super().__init__(folder)
        self.options = options
        self.password = password
        self.certificates = Certificates(self.folder) if tls else None

    @property
    def url(self) -> str:
        scheme, secret = (
            "rediss" if self.certificates else "redis",
            f":{self.password}@" if self.password else "",
        )
        trust = f"?ssl_ca_certs={self.certificates.authority}" if self.certificates else ""
        return f"{scheme}://{secret}127.0.0.1:{self.port}/0{trust}"

    def client(self) -> Redis:
        """A plain client of it, which tries nothing twice."""
        return Redis.from_url(
            self.url, socket_timeout=5.0, decode_responses=True, retry=Retry(NoBackoff(), 0)
        )

    def prepare(self) -> None:
        """All is on the command line."""

    def command(self) -> list[str]:
        options = {
            "port": "0" if self.certificates else str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }
        if self.password:
            options["requirepass"] = options["masterauth"] = self.password
        if self.certificates:
            options |= {
                "tls-port": str(self.port),
                "tls-cert-file": str(self.certificates.certificate),
                "tls-key-file": str(self.certificates.key),
                "tls-ca-cert-file": str(self.certificates.authority),
                "tls-auth-clients": "no",
            }
        pairs = [part for name, value in options.items() for part in (f"--{name}", value)]
        return [str(self.program), *pairs, *self.options]

    def is_ready(self) -> bool:
        try:
            with self.client() as client:
                return client.ping() is True and client.info("server")["process_id"] == self.pid
        except RedisError:
            return False  # it does not listen yet, or still reads its file
