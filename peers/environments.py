"""A virtual environment for each library that is compared, so that none meets the dependencies of another."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent


def interpreter(name: str, *requirements: str) -> Path:
    """The interpreter of `.venv-NAME`, made and filled if need be; without requirements it is our own."""
    if not requirements:
        return Path(sys.executable)
    folder = ROOT / f".venv-{name}"
    python, ready = folder / "bin" / "python", folder / "ready"
    wanted = "\n".join(requirements)
    if not ready.exists() or ready.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *requirements], check=True)
        ready.write_text(wanted)
    return python
