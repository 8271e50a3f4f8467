"""`make chaos`: kill, freeze, cut off and restart everything for minutes, and judge what broke."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click
import msgspec

from chaos import recovery, report
from chaos.run import run
from chaos.sites import SITES


class Teller:
    """Progress: one line that is written over at a terminal, and now and then a line in a file."""

    def __init__(self) -> None:
        self._last = 0.0

    def __call__(self, name: str, line: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{name}: {line}")
        elif time.monotonic() - self._last > 10.0:
            self._last = time.monotonic()
            sys.stderr.write(f"{name}: {line}\n")
        sys.stderr.flush()


def save(results: Sequence[msgspec.Struct], file: Path | None) -> None:
    if file is not None:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")


@click.command(help=__doc__)
@click.option("--broker", "names", multiple=True, type=click.Choice([*SITES]), help="All, if none is named.")
@click.option("--measure", type=click.Choice(["recovery"]), help="Only measure how soon work goes on.")
@click.option("--minutes", default=10.0, show_default=True, help="How long things are broken, on each.")
@click.option("--seed", type=int, help="Of the faults; a new one if nothing is said.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all to this file, too.")
def main(
    names: tuple[str, ...], measure: str | None, minutes: float, seed: int | None, json_file: Path | None
) -> None:
    seed = random.randrange(10_000) if seed is None else seed
    tell, chosen = Teller(), names or tuple(SITES)
    if measure:
        figures = [each for name in chosen for each in recovery.measure(name, partial(tell, name))]
        click.echo(f"\n{recovery.text(figures)}")
        save(figures, json_file)
        return
    outcomes = []
    for name in chosen:
        outcomes.append(run(name, minutes * 60, seed, partial(tell, name)))
        click.echo(f"\n{report.text(outcomes[-1])}")
        save(outcomes, json_file)
    if not all(outcome.kept for outcome in outcomes):
        raise click.ClickException("a promise was broken")


if __name__ == "__main__":
    main(prog_name="python -m chaos")
