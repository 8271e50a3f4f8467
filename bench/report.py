"""The figures of a run: tables for the terminal, Markdown for the documentation, JSON for programs."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from bench.aims import AIMS
from bench.figures import Sample, Sizes

PACKAGES = {"sqlite": ("backburner", "msgspec", "uvloop"), "rabbitmq": ("backburner", "msgspec", "pika")}
TITLES = {"sqlite": "Benchmarks", "rabbitmq": "Benchmarks on RabbitMQ"}
INTRODUCTION = """\
# {title}

Written by `{command} --write`; every figure is from one run of the command below. Each is the median of
{rounds}, with the lowest and the highest beside it. Absolute figures are this machine's: compare ratios.
"""
EXPLANATIONS = {
    "sqlite": """\
A drain is counted from the start of the first job to the end of the last, by the times in the database; "from
worker ready" includes the worker's first claim. Its jobs do nothing, and return a number that is stored. The
bare loop (`bench/bare.py`) does the same directly on sqlite3, in one thread, and is the ceiling. "Few" and
"many" waiting behind a drain are the counts shallow and deep. Pick-up is counted from before `enqueue` is
called in one process to the first line of the function in another. Memory is PSS, of a supervisor and one
worker process.
""",
    "rabbitmq": """\
All on one node of RabbitMQ with two schedulers, on the same cores as its clients. A drain is counted from
the start of the first job to that of the last; all had been enqueued before. Its jobs do nothing but count
themselves, in both libraries. Backburner's messages go to quorum queues, persistent and confirmed; its
worker is one process unless two are named, with a hundred coroutines or eight threads, and acknowledges a
job after it ended: at least once. The bare loop (`bench/bare_rabbitmq.py`) publishes to a quorum queue with
a thousand unconfirmed, and consumes with a thousand ahead and one acknowledgement for a hundred; it looks
at nothing. dramatiq's queues are durable and classic, as it declares them; its messages are persistent, and
acknowledged after the job ended: at least once. Its defaults are two processes of eight threads; tuned
means two of four and a prefetch of 1,000. Neither stores results.
""",
}


class Row(NamedTuple):
    """One line of a table, its numbers as text."""

    cells: tuple[str, ...]
    good: bool = True


class Report:
    """Gathers the samples of all rounds; `command` is how to repeat the run of these `sizes`."""

    def __init__(self, command: str, sizes: Sizes, about: str = "sqlite") -> None:
        self.command = command
        self.about = about
        self.sizes = sizes
        self.samples: dict[str, list[float]] = {}
        self.units: dict[str, str] = {}

    def add(self, sample: Sample) -> None:
        self.samples.setdefault(sample.figure, []).append(sample.value)
        self.units[sample.figure] = sample.unit

    def show(self, console: Console) -> None:
        for title, columns, rows in self._tables():
            table = Table(*columns, title=title, title_justify="left")
            for column in table.columns[1:]:
                column.justify = "right"
            for row in rows:
                table.add_row(*row.cells, style=None if row.good else "red")
            console.print(table)
        for name, value in self.setting().items():
            console.print(f"{name}: {value}", highlight=False)

    def markdown(self) -> str:
        rounds = max(map(len, self.samples.values()), default=0)
        parts = [
            INTRODUCTION.format(
                title=TITLES[self.about],
                command=self.command,
                rounds=f"{rounds} round{'s' if rounds > 1 else ''}",
            )
        ]
        parts.append("\n".join(f"- {name}: {value}" for name, value in self.setting().items()) + "\n")
        for title, columns, rows in self._tables():
            rule = ("---", *["---:"] * (len(columns) - 1))
            lines = [
                "| " + " | ".join(cells) + " |" for cells in (columns, rule, *(row.cells for row in rows))
            ]
            parts.append("\n".join([f"## {title}", "", *lines]) + "\n")
        return "\n".join([*parts, EXPLANATIONS[self.about]])

    def as_json(self) -> dict[str, Any]:
        figures = {
            figure: {
                "unit": self.units[figure],
                "median": median(values),
                "min": min(values),
                "max": max(values),
                "rounds": values,
            }
            for figure, values in self.samples.items()
        }
        aims = [
            {"aim": aim.text, "ratio": median(ratios), "rounds": ratios, "met": aim.met(ratios)}
            for aim in AIMS
            if (ratios := aim.reached(self.samples))
        ]
        return {**self.setting(), "figures": figures, "aims": aims}

    def setting(self) -> dict[str, str]:
        """The command, the day, the machine and the versions."""
        return {
            "command": self.command,
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
            "versions": ", ".join(_versions(self.about)),
            "counts": ", ".join(f"{name} {count:,}" for name, count in self.sizes._asdict().items()),
        }

    def _tables(self) -> Iterator[tuple[str, tuple[str, ...], list[Row]]]:
        aims = [
            Row(
                (
                    aim.text,
                    f"{_number(median(ratios) * aim.limit)} {'×' if aim.beside else self.units[aim.figure]}",
                    *_spread(ratios, "×"),
                    "met" if aim.met(ratios) else "not met",
                ),
                aim.met(ratios),
            )
            for aim in AIMS
            if (ratios := aim.reached(self.samples))
        ]
        if aims:
            yield "Aims", ("aim", "measured", "÷ limit", "lowest – highest", "verdict"), aims
        figures = [
            Row((figure, *_spread(values, self.units[figure]))) for figure, values in self.samples.items()
        ]
        yield "Figures", ("figure", "median", "lowest – highest"), figures


def _versions(about: str) -> Iterator[str]:
    yield f"{platform.python_implementation()} {platform.python_version()}"
    yield f"SQLite {sqlite3.sqlite_version}" if about == "sqlite" else "RabbitMQ 3.10.8 (Debian)"
    for package in PACKAGES[about]:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            yield f"no {package}"


def _spread(values: Sequence[float], unit: str) -> tuple[str, str]:
    """The median with its unit, and the lowest and the highest."""
    return f"{_number(median(values))} {unit}", f"{_number(min(values))} – {_number(max(values))}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
