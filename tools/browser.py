"""Make sure that the browser tests have a Chromium."""

from __future__ import annotations

import sys

from tools.packages import Need, ensure

CHROMIUM = Need("Chromium", ("chromium", "chromedriver"), ("chromium", "chromium-driver"))

if __name__ == "__main__":
    sys.exit(ensure(CHROMIUM))
