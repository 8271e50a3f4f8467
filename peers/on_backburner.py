"""Backburner at its defaults."""

from __future__ import annotations

from backburner import Backburner
from peers import effects

app = Backburner(effects.URL)


@app.task
def work(number: int) -> None:
    effects.work(number)


def enqueue(number: int) -> None:
    work.enqueue(number)
