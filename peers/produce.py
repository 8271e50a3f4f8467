"""Enqueue numbers one by one with a peer: `python -m peers.produce MODULE`, in its environment.

A number whose enqueue returned goes to the file `accepted`, one whose enqueue failed to `refused`: whether
that was stored is not known. Then comes the next one, after a pause.
"""

from __future__ import annotations

import sys
import time
from importlib import import_module
from itertools import count

from peers.effects import write

PAUSE = 0.2
PACE = 0.01
"""Seconds between two: somewhat less than what the workers can run."""


def main(module: str) -> None:
    """Until killed."""
    enqueue = import_module(module).enqueue
    for number in count():
        try:
            enqueue(number)
        except Exception as error:  # noqa: BLE001 - each library and each driver has errors of its own
            print(f"{number}: {error!r}"[:300], file=sys.stderr, flush=True)
            write("refused", number)
            time.sleep(PAUSE)
        else:
            write("accepted", number)
            time.sleep(PACE)


if __name__ == "__main__":
    main(sys.argv[1])
