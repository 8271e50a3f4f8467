"""Make sure that the browser tests have a Chromium: find it, or install it with apt where that is allowed.

Where it is not, say the command to run. Locally the tests go on without those of the browser; with CI=true
a missing browser is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

PACKAGES = ["chromium", "chromium-driver"]


def installed() -> bool:
    return shutil.which("chromium") is not None and shutil.which("chromedriver") is not None


def install() -> None:
    print(f"Installing {' and '.join(PACKAGES)} for the browser tests …", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        subprocess.run(["apt-get", "-qq", *command], env=environment, stdout=subprocess.DEVNULL, check=False)


def main() -> int:
    if not installed() and os.geteuid() == 0 and shutil.which("apt-get"):
        install()
    if installed():
        return 0
    print(
        "No Chromium found, so the browser tests cannot run. Install it with"
        f"\n    sudo apt-get install {' '.join(PACKAGES)}"
        "\nor your system's equivalent; `chromium` and `chromedriver` must be on the PATH.",
        file=sys.stderr,
    )
    return 1 if os.environ.get("CI") else 0


if __name__ == "__main__":
    sys.exit(main())
