"""The tables of a run, made of its record: for the terminal and for the documentation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import NamedTuple

from bench.aims import AIMS
from bench.measures import TITLES, explanation
from bench.run import Record

BARE = "bare@"


class Table(NamedTuple):
    """Cells as text; `title` is a heading."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: str = ""
    """How to read it."""
    numbers: bool = True
    """In all cells but the first of a row."""


def tables(record: Record) -> Iterator[Table]:
    yield from _aims(record)
    for measure, title in TITLES.items():
        if record.figures(measure):
            yield _measure(record, measure, title)
    yield from _gaps(record)


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(values: Sequence[float]) -> str:
    """The median, and the lowest and the highest."""
    if len(values) == 1:
        return number(values[0])
    return f"{number(median(values))} ({number(min(values))} – {number(max(values))})"


def order(record: Record) -> list[str]:
    """The systems by broker: the bare loop, Backburner, the others."""
    ranks = {"bare": 0, "backburner": 1}

    def rank(name: str) -> tuple[str, int, str]:
        library, broker = name.split("@")
        return broker, ranks.get(library, 2), library

    return sorted(record.systems, key=rank)


def _measure(record: Record, measure: str, title: str) -> Table:
    figures = record.figures(measure)
    rows = []
    for system in order(record):
        cells = [[*record.values(system, measure, figure).values()] for figure in figures]
        if any(cells):
            rows.append((system, *(spread(values) if values else "" for values in cells)))
    head = ("system", *(f"{figure}, {record.unit(measure, figure)}" for figure in figures))
    return Table(title, head, rows, explanation(measure))


def _aims(record: Record) -> Iterator[Table]:
    rows = [
        (
            aim.text,
            number(median(value for value, _ in rounds)),
            ("at most " if aim.most else "") + number(median(goal for _, goal in rounds)),
            spread([value / goal for value, goal in rounds]),
            "met" if aim.met(rounds) else f"not met: {aim.reason}".removesuffix(": "),
        )
        for aim in AIMS
        if (rounds := aim.reached(record))
    ]
    if rows:
        words = "The ratio is that of a round, as the goal is."
        yield Table("Aims", ("aim", "measured", "goal", "ratio", "verdict"), rows, words)


def _gaps(record: Record) -> Iterator[Table]:
    """Each rate beside the bare loop's of the same broker, round by round."""
    rows = []
    for measure in ("enqueue", "drain"):
        rates = [each for each in record.figures(measure) if record.unit(measure, each) == "jobs/s"]
        for figure in rates:
            for bare in [each for each in order(record) if each.startswith(BARE)]:
                ceiling = record.values(bare, measure, figure)
                for system in order(record):
                    if system != bare and system.endswith(bare.removeprefix("bare")):
                        values = record.values(system, measure, figure)
                        ratios = [values[turn] / ceiling[turn] for turn in values if turn in ceiling]
                        if ratios:
                            rows.append((system, f"{TITLES[measure]}: {figure}", spread(ratios)))
    if rows:
        words = "The rate of a system, divided by that of the bare loop on the same broker in the same round."
        yield Table("Beside the bare loop", ("system", "figure", "of the bare loop"), sorted(rows), words)
