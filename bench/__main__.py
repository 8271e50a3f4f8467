"""Measure Backburner on SQLite.

1. A run has rounds. Each round does every measure once, and alternates Backburner with the bare loop.
2. A figure is the median of the rounds. An aim is judged by ratios within a round.
"""

from __future__ import annotations

import json
import shlex
import tempfile
from importlib import import_module
from pathlib import Path

import click
from rich.console import Console

from bench.figures import SHORT, Measure, Sizes
from bench.report import Report
from bench.worker import ROOT

NAMES = ("enqueue", "drain", "pickup", "idle", "deep")
"""The measures on SQLite."""
RABBITMQ = "rabbitmq"
PAGE = ROOT / "docs" / "benchmarks.md"
RABBITMQ_PAGE = ROOT / "docs" / "benchmarks-rabbitmq.md"


def chosen(_context: click.Context, _option: click.Parameter, given: str) -> tuple[str, ...]:
    names = tuple(given.split(","))
    for name in names:
        if name not in NAMES and names != (RABBITMQ,):
            raise click.BadParameter(f"{name!r} is none of {', '.join(NAMES)}; {RABBITMQ} stands alone")
    return names


@click.command(
    help="Measure Backburner on SQLite, beside the shortest loop that does the same; or, with "
    "--only=rabbitmq, on RabbitMQ, beside that and dramatiq."
)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True, help="Rounds.")
@click.option("--only", callback=chosen, default=",".join(NAMES), show_default=True, help="Measures to take.")
@click.option("--short", is_flag=True, help="Tiny counts: shows that the benchmark works, measures nothing.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write the figures to this file, too."
)
@click.option(
    "--write",
    "page",
    type=click.Path(path_type=Path),
    is_flag=False,
    flag_value=PAGE,
    help="Write the figures as Markdown.  [default file: the page in docs/]",
)
def main(repeats: int, only: tuple[str, ...], short: bool, json_file: Path | None, page: Path | None) -> None:
    options = [f"--repeats={repeats}", *(["--short"] if short else [])]
    options += [f"--only={','.join(only)}"] if only != NAMES else []
    sizes = SHORT if short else Sizes()
    about = RABBITMQ if RABBITMQ in only else "sqlite"
    report = Report(shlex.join(["python", "-m", "bench", *options]), sizes, about)
    console = Console()
    with tempfile.TemporaryDirectory(prefix="backburner-bench-") as folder:
        for turn in range(1, repeats + 1):
            for name in only:
                with console.status(f"round {turn} of {repeats}: {name}"):
                    measure: Measure = import_module(f"bench.{name}").measure
                    for sample in measure(sizes, Path(folder)):
                        report.add(sample)
    report.show(console)
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    if page is not None:
        page = RABBITMQ_PAGE if page == PAGE and about == RABBITMQ else page
        page.write_text(report.markdown())


if __name__ == "__main__":
    main(prog_name="python -m bench")
