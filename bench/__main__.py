"""Measure Backburner on its brokers, beside the shortest loop that does the same on each, and beside other
libraries, each in a virtual environment of its own.
"""

from __future__ import annotations

import shlex
import signal
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from bench import page, report
from bench.alone import alone
from bench.catalog import BROKERS, System, chosen
from bench.figures import SHORT, Sizes
from bench.measures import TITLES
from bench.run import Record, run


def _measures(_context: click.Context, _option: click.Parameter, given: str) -> tuple[str, ...]:
    names = tuple(given.split(","))
    for name in names:
        if name not in TITLES:
            raise click.BadParameter(f"{name!r} is none of {', '.join(TITLES)}")
    return names


def _sizes(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict[str, int]:
    sizes = {}
    for each in given:
        name, _, count = each.partition("=")
        if name not in Sizes._fields or not count.isdecimal():
            raise click.BadParameter(f"{each!r} is not NAME=COUNT with one of {', '.join(Sizes._fields)}")
        sizes[name] = int(count)
    return sizes


def _systems(peers: str, brokers: str) -> list[System]:
    try:
        return [*chosen(peers, brokers)]
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _keep(file: Path | None, record: Record) -> None:
    if file is not None:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")


def show(record: Record, console: Console) -> None:
    for each in report.tables(record):
        table = Table(*each.head, title=each.title, title_justify="left")
        for row in each.rows:
            table.add_row(*row)
        console.print(table)
    for failure in record.failures:
        console.print(failure, style="red", highlight=False, markup=False)


@click.command(help=__doc__)
@click.option("--peers", default="ready", show_default=True, help="all, none, ready, or LIBRARY[@BROKER],….")
@click.option("--brokers", default=",".join(BROKERS), show_default=True, help="Only systems on these.")
@click.option("--measures", callback=_measures, default=",".join(TITLES), show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="Rounds.")
@click.option("--short", is_flag=True, help="Tiny counts: shows that all works, measures nothing.")
@click.option(
    "--size", "sizes", multiple=True, callback=_sizes, metavar="NAME=COUNT", help="Another count than usual."
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Keep the samples in this file: all of them."
)
@click.option(
    "--write",
    "page_file",
    type=click.Path(path_type=Path),
    is_flag=False,
    flag_value=page.PAGE,
    help="Write the page and its pictures.  [default file: the page in docs/]",
)
def main(
    peers: str,
    brokers: str,
    measures: tuple[str, ...],
    repeats: int,
    short: bool,
    sizes: dict[str, int],
    json_file: Path | None,
    page_file: Path | None,
) -> None:
    options = {"peers": peers, "brokers": brokers, "measures": ",".join(measures), "repeats": str(repeats)}
    command = ["python", "-m", "bench", *(f"--{name}={value}" for name, value in options.items())]
    command += [f"--size={name}={count}" for name, count in sizes.items()] + ["--short"] * short
    systems = _systems(peers, brokers)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended, as after Ctrl-C
    with nullcontext() if short else alone(), Console(stderr=True).status("") as status:
        record = run(
            systems,
            measures,
            repeats,
            (SHORT if short else Sizes())._replace(**sizes),
            shlex.join(command),
            status.update,
            partial(_keep, json_file),
        )
    show(record, Console())
    if page_file is not None:
        page.write(record, page_file)
    sys.exit(1 if record.failures else 0)


if __name__ == "__main__":
    main(prog_name="python -m bench")
