"""`backburner workers`: who runs jobs."""

from __future__ import annotations

import click

from backburner.cli import output
from backburner.cli.output import Column, Styled
from backburner.cli.target import as_json, target
from backburner.inspector import Inspector
from backburner.views import WorkerView, worker_view
from backburner.words import span

COLUMNS = (
    Column("WORKER", flexible=True),
    Column("PID", right=True),
    Column("STATE"),
    Column("BUSY", right=True),
    Column("UP", right=True),
    Column("QUEUES", flexible=True),
)


@click.command()
@as_json
@target
def workers(inspector: Inspector, as_json: bool) -> None:
    """List the workers. --json: a list of workers (`backburner.views.WorkerView`)."""
    now = inspector.broker.now()
    found = [worker_view(info, now) for info in inspector.workers()]
    if as_json:
        output.print_json(found)
    elif not found:
        click.echo("no workers: start one with `backburner worker MODULE:APP`")
    else:
        rows = [
            (
                each.id,
                str(each.pid),
                _state(each, now),
                f"{each.running}/{each.slots}",
                span(now - each.started_at),
                ", ".join(each.queues),
            )
            for each in found
        ]
        output.show(output.table(COLUMNS, rows))


def _state(worker: WorkerView, now: float) -> Styled:
    if not worker.alive:
        return Styled(f"silent for {span(now - worker.seen_at)}", "red")
    return Styled("quiet", "yellow") if worker.quiet else Styled("alive", "green")
