"""Programs from outside of Python that some tests need: find them, install them with apt, or ask for them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Need(NamedTuple):
    """Programs, and the Debian packages that bring them."""

    name: str
    programs: tuple[str, ...]
    packages: tuple[str, ...]

    def missing(self) -> list[str]:
        return [program for program in self.programs if find(program) is None]

    def advice(self) -> str:
        return (
            f"{self.name} is missing. Install it with"
            f"\n    sudo apt-get install --no-install-recommends {' '.join(self.packages)}"
            f"\nor your system's equivalent, which must bring {' and '.join(self.programs)}."
        )


def find(program: str) -> Path | None:
    """RabbitMQ's own scripts, which Debian wraps in others that want to be root and change the user; on the
    PATH, in /usr/sbin, or in the folder of the newest PostgreSQL, which Debian keeps apart.
    """
    if (unwrapped := Path("/usr/lib/rabbitmq/bin") / program).exists():
        return unwrapped
    if on_path := shutil.which(program) or shutil.which(program, path="/usr/sbin"):
        return Path(on_path)
    versions = Path("/usr/lib/postgresql").glob(f"*/bin/{program}")
    return max(versions, key=lambda path: int(path.parts[-3]), default=None)


def install(needs: list[Need]) -> None:
    """Let apt bring them, without starting what is installed.

    A Debian package of a server also starts it for the machine. That is not wanted here: with RUNLEVEL=1
    it believes the machine to be in single-user mode, and leaves it. Under systemd that is not heeded,
    and what is the machine's own policy (policy-rc.d) is not ours to change.
    """
    print(f"Installing {', '.join(need.name for need in needs)} for the tests …", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    packages = [package for need in needs for package in need.packages]
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        patient = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120", *command]
        subprocess.run(patient, env=environment, stdout=subprocess.DEVNULL, check=False)


def ensure(*needs: Need) -> int:
    """The exit code: 1 if something is still missing, and this is CI, which leaves no test out."""
    missing = [need for need in needs if need.missing()]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        install(missing)
    missing = [need for need in missing if need.missing()]
    for need in missing:
        print(f"Some tests cannot run: {need.advice()}", file=sys.stderr)
    return 1 if missing and os.environ.get("CI") else 0
