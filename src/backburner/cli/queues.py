"""`backburner queues`: list, pause and resume queues."""

from __future__ import annotations

import click

from backburner.brokers.base import QueueInfo
from backburner.cli import Failure, ListGroup, output
from backburner.cli.output import Cell, Column, coloured, dim, lines
from backburner.cli.target import as_json, target
from backburner.errors import ConfigError
from backburner.inspector import Inspector
from backburner.lifecycle import State
from backburner.views import queue_view
from backburner.words import when

SHOWN = (State.QUEUED, State.RUNNING, State.SCHEDULED, State.RETRYING, State.DEAD)


@click.group(cls=ListGroup)
def queues() -> None:
    """List, pause and resume queues; without a command, list them."""


@queues.command("list")
@as_json
@target
def list_queues(inspector: Inspector, as_json: bool) -> None:
    """List the queues. --json: a list of queues (`backburner.views.QueueView`)."""
    found = inspector.queues()
    if as_json:
        output.print_json([queue_view(info) for info in found])
    elif not found:
        click.echo("no queues: nothing was ever enqueued")
    else:
        columns = [Column("QUEUE", flexible=True), Column("OLDEST")]
        columns += [Column(state.upper(), right=True) for state in SHOWN]
        now = inspector.broker.now()
        rows = [_row(info, now) for info in found]
        output.show(output.table(columns, rows))


@queues.command()
@click.argument("name")
@target
def pause(inspector: Inspector, name: str) -> None:
    """Let no worker take jobs from a queue; what runs goes on, and jobs can still be enqueued."""
    _known(inspector, name)
    inspector.pause_queue(name)
    click.echo(f"queue {name} is paused; `backburner queues resume {name}` ends that")


@queues.command()
@click.argument("name")
@target
def resume(inspector: Inspector, name: str) -> None:
    """Let workers take jobs from a queue again."""
    _known(inspector, name)
    inspector.resume_queue(name)
    click.echo(f"queue {name} is not paused")


def _known(inspector: Inspector, name: str) -> None:
    """A misspelt queue would be paused without a word, while the real one goes on."""
    known = {info.name for info in inspector.queues()}
    known |= {queue for worker in inspector.workers() for queue in worker.beat.queues}
    if name not in known:
        raise Failure(str(ConfigError.unknown("queue", name, known)))


def _row(info: QueueInfo, now: float) -> list[Cell]:
    paused = coloured("paused") if info.paused else None
    limit = dim(f"at most {info.max_length:,}, then {info.on_full}") if info.max_length is not None else None
    counts = [f"{info.counts.get(state, 0):,}" for state in SHOWN]
    return [lines(info.name, paused, limit), when(info.oldest, now), *counts]
