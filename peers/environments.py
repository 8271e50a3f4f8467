"""A virtual environment for each library that is compared, so that none meets the dependencies of another."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent


PACKAGES = {
    "celery": ("celery[redis]==5.7.0",),
    "dramatiq": ("dramatiq[redis,rabbitmq]==2.2.1",),
    "rq": ("rq==3.0.0", "hiredis==3.5.0"),
    "huey": ("huey==3.5.4", "redis==8.1.0", "hiredis==3.5.0"),
    "arq": ("arq==0.28.0",),
    "taskiq": ("taskiq[uv]==0.13.0", "taskiq-redis==1.2.4", "taskiq-aio-pika==0.6.1", "hiredis==3.5.0"),
    "saq": ("saq[redis,postgres,hiredis]==0.26.4", "uvloop==0.23.0"),
    "streaq": ("streaq==7.2.0",),
    "procrastinate": ("procrastinate==3.10.0", "psycopg[binary]==3.3.9"),
    "pgqueuer": ("pgqueuer[asyncpg,cli]==1.6.0", "uvloop==0.23.0"),
}
"""What is installed for each library; ours has none of its own."""


def interpreter(library: str) -> Path:
    """The interpreter of `.venv-LIBRARY`, made and filled if need be; of Backburner it is our own."""
    if library not in PACKAGES:
        return Path(sys.executable)
    python, wanted = _python(library), "\n".join(PACKAGES[library])
    if not is_ready(library):
        venv.create(python.parent.parent, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *PACKAGES[library]], check=True)
        _stamp(library).write_text(wanted)
    return python


def is_ready(library: str) -> bool:
    """Whether its environment is there already, with these packages."""
    wanted = "\n".join(PACKAGES.get(library, ()))
    return not wanted or (_stamp(library).exists() and _stamp(library).read_text() == wanted)


def _python(library: str) -> Path:
    return ROOT / f".venv-{library}" / "bin" / "python"


def _stamp(library: str) -> Path:
    return ROOT / f".venv-{library}" / "ready"
