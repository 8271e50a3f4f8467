"""`backburner doctor`: look for what is wrong, and say what to do."""

from __future__ import annotations

import sys

import click

from backburner.cli import output
from backburner.cli.output import Column, advice, coloured, lines
from backburner.cli.target import as_json, new_target
from backburner.doctor import Level
from backburner.inspector import Inspector


@click.command()
@click.option(
    "--queue",
    "queues",
    multiple=True,
    help="A queue to look at, where the broker cannot list its own (RabbitMQ); may be given again.  "
    "[default: those of --app]",
)
@as_json
@new_target
def doctor(inspector: Inspector, queues: tuple[str, ...], as_json: bool) -> None:
    """Look at the broker, the workers, the queues and the schedules; exit code 1 when something fails.

    --json: a list of objects with level (ok, warn or fail), text and next_step.
    """
    checks = inspector.checkup(queues)
    if as_json:
        output.print_json(checks)
    else:
        rows = [(coloured(check.level), lines(check.text, advice(check.next_step))) for check in checks]
        output.show(output.table((Column(""), Column("", flexible=True)), rows, headed=False))
    if any(check.level is Level.FAIL for check in checks):
        sys.exit(1)
