"""A certificate for 127.0.0.1 that nobody trusts but who is told to."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Certificates:
    """Its own authority, valid for a day: `authority`, `certificate` and `key` are PEM files."""

    def __init__(self, folder: Path) -> None:
        self.key = folder / "server.key"
        self.certificate = self.authority = folder / "server.crt"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-nodes", "-days", "1", "-subj", "/CN=localhost"),
                *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
                *("-keyout", str(self.key), "-out", str(self.certificate)),
            ],
            check=True,
            capture_output=True,
        )
