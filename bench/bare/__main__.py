"""A worker that is nothing but the bare loop: `python -m bench.bare URL BATCH`, until SIGTERM; with a batch
of 0 it hears and does not claim.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from bench.bare import loop


async def main(url: str, batch: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    if batch:
        await loop(url).work(url, batch, stop.is_set)
    else:
        await loop(url).hear(url, stop)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
