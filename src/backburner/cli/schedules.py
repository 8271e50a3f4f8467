"""`backburner schedules`: the periodic tasks."""

from __future__ import annotations

import click

from backburner import job
from backburner.brokers.base import StoredSchedule
from backburner.cli import Failure, ListGroup, output
from backburner.cli.output import Column, coloured, dim, lines
from backburner.cli.target import as_json, assume_yes, target
from backburner.errors import ConfigError
from backburner.inspector import Inspector
from backburner.views import in_words, schedule_view
from backburner.words import when

COLUMNS = (
    Column("SCHEDULE", flexible=True),
    Column("NEXT"),
    Column("FIRES", flexible=True),
    Column("TASK", flexible=True),
)


@click.group(cls=ListGroup)
def schedules() -> None:
    """List, pause, resume and delete periodic tasks; without a command, list them."""


@schedules.command("list")
@as_json
@target
def list_schedules(inspector: Inspector, as_json: bool) -> None:
    """List the periodic tasks. --json: a list of schedules (`backburner.views.ScheduleView`)."""
    found = inspector.schedules()
    if as_json:
        output.print_json([schedule_view(each) for each in found])
    elif not found:
        click.echo("no schedules: declare one with @app.every or @app.cron, and start a worker")
    else:
        now = inspector.broker.now()
        rows = [
            (
                each.schedule.name,
                coloured("paused") if each.paused else when(each.next_at, now) or "never",
                in_words(each),
                lines(each.schedule.task, dim(f"in {each.schedule.queue}")),
            )
            for each in found
        ]
        output.show(output.table(COLUMNS, rows))


@schedules.command("next")
@click.argument("name")
@click.option("--count", type=click.IntRange(1, 1000), default=5, show_default=True, help="Fires to show.")
@as_json
@target
def next_fires(inspector: Inspector, name: str, count: int, as_json: bool) -> None:
    """Show when a periodic task fires next. --json: a list of times."""
    fires = inspector.next_fires(_found(inspector, name), count)
    if as_json:
        output.print_json(fires)
    else:
        now = inspector.broker.now()
        rows = [(job.when(at), when(at, now)) for at in fires]
        output.show(output.table((Column("TIME"), Column("")), rows))


@schedules.command()
@click.argument("name")
@target
def pause(inspector: Inspector, name: str) -> None:
    """Enqueue nothing for a periodic task until it is resumed."""
    _found(inspector, name)
    inspector.pause_schedule(name)
    click.echo(f"schedule {name} is paused; `backburner schedules resume {name}` ends that")


@schedules.command()
@click.argument("name")
@target
def resume(inspector: Inspector, name: str) -> None:
    """Let a periodic task fire again."""
    _found(inspector, name)
    inspector.resume_schedule(name)
    click.echo(f"schedule {name} is not paused")


@schedules.command()
@click.argument("name")
@assume_yes
@target
def delete(inspector: Inspector, name: str, yes: bool) -> None:
    """Delete a periodic task. One that is declared in code comes back when a worker starts."""
    stored = _found(inspector, name)
    if not yes:
        click.confirm(f"Delete schedule {name}?", abort=True)
    inspector.delete_schedule(name)
    click.echo(f"deleted schedule {name}")
    if stored.declared:
        click.echo(
            "it is declared in code, and comes back when a worker starts: delete it there, too", err=True
        )


def _found(inspector: Inspector, name: str) -> StoredSchedule:
    known = {each.schedule.name: each for each in inspector.schedules()}
    if name not in known:
        raise Failure(str(ConfigError.unknown("schedule", name, known)))
    return known[name]
