"""`backburner migrate`: bring the broker's storage up to this version."""

from __future__ import annotations

import click

from backburner import brokers
from backburner.cli.target import new_target
from backburner.inspector import Inspector


@click.command()
@new_target
def migrate(inspector: Inspector) -> None:
    """Bring the broker's storage up to this version; make it where there is none. Safe to repeat."""
    where = brokers.redacted(inspector.broker.url)
    for name in inspector.broker.migrate():
        click.echo(f"applied {name}")
    click.echo(f"{where} is up to date")
