"""The bare loops of `bench/bare`, measured as if they were a library: what a broker and its client can do."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bench.bare import encode, loop
from bench.systems.adapter import URL, Adapter, Load

BEST = 100


class Bare(Adapter):
    packages = ("msgspec", "redis", "psycopg", "pika")
    kinds = ("coroutine", "wake")
    without = ("waiting", "computing", "idle", "startup")
    thread_safe = False
    guarantee = "each claim and each settlement is as durable as Backburner's; nothing else is done"
    settings = (
        f"the bare client in one loop that claims and settles {BEST} jobs at a time at its best, and looks "
        "every millisecond; picked up is what the broker's own wake-up carries, and nothing is stored"
    )

    def prepare(self) -> None:
        loop(URL).prepare(URL)

    def send(self, kind: str, job: str, value: float) -> None:
        payload = encode((job, value))
        if kind == "wake":
            loop(URL).wake(URL, payload)
        else:
            loop(URL).insert(URL, [payload])

    def send_many(self, kind: str, job: str, values: Sequence[float]) -> None:
        loop(URL).insert(URL, [encode((job, value)) for value in values])

    def workers(self, load: Load) -> list[list[str]]:
        batch = 0 if load.kind == "wake" else load.concurrency or BEST
        command = [sys.executable, "-m", "bench.bare", URL, str(batch)]
        return [command] * (load.processes or 1)


adapter = Bare()
