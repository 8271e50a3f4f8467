"""The jobs of a measured worker that counts them where they run."""

from __future__ import annotations

import os
from pathlib import Path

from backburner import Backburner
from bench.tally import Tally

tally = Tally(Path(os.environ["BENCH_TALLY"]))
app = Backburner(os.environ["BENCH_URL"], results=os.environ.get("BENCH_RESULTS"))


@app.task
async def coroutine(number: int) -> None:  # noqa: ARG001
    tally.count()


@app.task
def function(number: int) -> None:  # noqa: ARG001
    tally.count()
