"""The app that is measured. Its file is named by BACKBURNER_URL."""

from __future__ import annotations

import time

from backburner import Backburner

app = Backburner()


@app.task
async def coroutine(number: int) -> int:
    return number


@app.task
def function(number: int) -> int:
    return number


@app.task
async def clock() -> float:
    return time.time()
