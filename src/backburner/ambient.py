"""What the package takes from the machine as it comes: time, and chance. One place to ask.

Whatever makes a job or runs in a worker's loop asks here, so that a simulation (`tests/simulation`) can
answer in the machine's stead, and run the same life twice. Numbers that spread load come from `random`, which
can be seeded; when a job is due is told by the clock of its broker (`Broker.now`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

monotonic: Callable[[], float] = time.monotonic
"""Seconds that have passed, from no particular moment on."""
wall: Callable[[], float] = time.time
"""Seconds since the epoch, by this machine's clock."""
entropy: Callable[[int], bytes] = os.urandom
"""So many bytes that nobody can guess."""
