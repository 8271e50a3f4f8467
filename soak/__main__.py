"""`make soak`: mixed load for as long as asked, on a broker of its own; exit 1 when anything grows."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
from rich.console import Console

from soak import report
from soak.run import Outcome, soak
from soak.settings import Settings
from soak.stores import BROKERS

LEAKS = ("memory", "descriptors", "threads", "keys")
PAUSE = 15.0


class Progress:
    """One line that is written over; where it cannot be, a line now and then."""

    def __init__(self, broker: str) -> None:
        self.broker = broker
        self._next = 0.0

    def __call__(self, line: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\033[K{self.broker}: {line}")
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + PAUSE
            sys.stderr.write(f"{self.broker}: {line}\n")
        sys.stderr.flush()


@click.command(help=__doc__)
@click.option(
    "--broker", "brokers", multiple=True, type=click.Choice(BROKERS), help="[default: each in turn]"
)
@click.option("--minutes", type=click.FloatRange(min=0.1), default=4.0, show_default=True, help="Of load.")
@click.option("--rate", type=click.FloatRange(min=1), default=100.0, show_default=True, help="Jobs a second.")
@click.option("--warm-up", type=float, help="Seconds. [default: a third of the run, 10 minutes at most]")
@click.option("--interval", type=float, help="Seconds between samples. [default: 2 to 10, by the length]")
@click.option("--retention", default=10.0, show_default=True, help="Seconds that finished jobs are kept.")
@click.option("--leak", multiple=True, type=click.Choice(LEAKS), help="On purpose, to see that it is found.")
@click.option("--plots", type=click.Path(path_type=Path), default="soak-plots", show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all samples to this file.")
def main(
    brokers: tuple[str, ...],
    minutes: float,
    rate: float,
    warm_up: float | None,
    interval: float | None,
    retention: float,
    leak: tuple[str, ...],
    plots: Path,
    json_file: Path | None,
) -> None:
    seconds = 60 * minutes
    settings = Settings(
        seconds=seconds,
        warm_up=min(seconds / 3, 600.0) if warm_up is None else warm_up,
        interval=min(max(seconds / 360, 2.0), 10.0) if interval is None else interval,
        rate=rate,
        retention=retention,
        leak=leak,
    )
    console, outcomes = Console(), list[Outcome]()
    for broker in brokers or BROKERS:
        outcome = soak(broker, settings, Progress(broker))
        sys.stderr.write("\n")
        outcomes.append(outcome)
        report.show(outcome, console)
        report.draw(outcome, plots / f"{broker}.svg")
        console.print(f"{plots / broker}.svg", highlight=False)
    if json_file is not None:
        json_file.write_bytes(report.as_json(outcomes))
    sys.exit(0 if all(outcome.passed for outcome in outcomes) else 1)


if __name__ == "__main__":
    main(prog_name="python -m soak")
