"""`backburner stats`: how the queues and the tasks are doing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from backburner.cli import output
from backburner.cli.number import Number
from backburner.cli.output import Cell, Column, Lines, Styled, coloured, lines
from backburner.cli.target import as_json, target
from backburner.inspector import Inspector
from backburner.stats import Figures, Stats
from backburner.words import plural, span

if TYPE_CHECKING:
    from rich.console import RenderableType

FIGURES = ("QUEUED", "LATENCY", "RUNNING", "LATER", "DEAD", "DONE/S", "FAILED", "TOOK")


@click.command()
@click.option("--minutes", type=Number(1, 2880), default=5, show_default=True, help="For the rates.")
@click.option("--watch", is_flag=True, help="Look again and again, until Ctrl-C.")
@click.option("--interval", type=Number(0.1), default=2.0, show_default=True, help="Of --watch; seconds.")
@as_json
@target
def stats(inspector: Inspector, minutes: float, watch: bool, interval: float, as_json: bool) -> None:
    """Depth, latency of the oldest job, throughput, failures and dead letters, by queue and by task.

    --json: an object with at, window, workers, total, queues and tasks (`backburner.stats.Stats`).
    """
    if as_json and watch:
        raise click.UsageError("--json prints one document: give --watch or --json")
    if as_json:
        output.print_json(inspector.stats(minutes))
    elif watch:
        _watch(inspector, minutes, interval)
    else:
        output.show(_drawn(inspector.stats(minutes)))


def _watch(inspector: Inspector, minutes: float, interval: float) -> None:
    try:
        with output.live() as show:
            while True:
                show(_drawn(inspector.stats(minutes)))
                time.sleep(interval)
    except KeyboardInterrupt:
        return


def _drawn(found: Stats) -> RenderableType:
    workers, total = found.workers, found.total
    states = ", ".join(
        f"{count:,} {name}" for name, count in (("queued", total.queued), ("dead", total.dead))
    )
    head = (
        f"{plural(workers.alive, 'worker', 'workers')}, {workers.running:,} of {workers.slots:,} slots busy; "
        f"{states}; {_rate(total)} done a second in {span(found.window)}"
    )
    queues = [(lines(each.queue, coloured("paused") if each.paused else None), each) for each in found.queues]
    tasks = [(lines(each.task), each) for each in found.tasks]
    return output.group(head, "", _table("QUEUE", queues), "", _table("TASK", tasks))


def _table(first: str, rows: Sequence[tuple[Lines, Figures]]) -> RenderableType:
    columns = [Column(first, flexible=True), *(Column(name, right=True) for name in FIGURES)]
    return output.table(columns, [(name, *_cells(figures)) for name, figures in rows])


def _cells(figures: Figures) -> tuple[Cell, ...]:
    failed = "" if figures.failure_rate is None else f"{figures.failure_rate:.0%}"
    return (
        f"{figures.queued:,}",
        "" if figures.latency is None else span(figures.latency),
        f"{figures.running:,}",
        f"{figures.later:,}",
        Styled(f"{figures.dead:,}", "red" if figures.dead else ""),
        _rate(figures),
        Styled(failed, "yellow" if figures.failed else ""),
        "" if figures.seconds is None else span(figures.seconds),
    )


def _rate(figures: Figures) -> str:
    return f"{figures.throughput:,.1f}"
