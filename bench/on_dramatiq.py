"""The same no-op jobs on dramatiq, which runs them from a virtual environment of its own.

`python -m bench.on_dramatiq COUNT [confirmed]` sends so many and prints the rate; `flush` empties the queue.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from bench.tally import Tally

tally = Tally(Path(os.environ["BENCH_TALLY"]))
broker = RabbitmqBroker(url=os.environ["BENCH_URL"], confirm_delivery="confirmed" in sys.argv)
dramatiq.set_broker(broker)


@dramatiq.actor  # type: ignore[untyped-decorator]  # without types
def noop(number: int) -> None:  # noqa: ARG001
    tally.count()


if __name__ == "__main__":
    count = int(sys.argv[1])
    began = time.perf_counter()
    for number in range(count):
        noop.send(number)
    if "flush" in sys.argv:
        broker.flush_all()
    else:
        print(count / (time.perf_counter() - began))
    broker.close()  # or what is not confirmed may not have been sent
