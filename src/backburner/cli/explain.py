"""`backburner explain`: why a job does not run, or ended as it did."""

from __future__ import annotations

import click

from backburner.cli import output
from backburner.cli.output import Column, Styled, advice, coloured, lines
from backburner.cli.target import as_json, target
from backburner.inspector import Inspector


@click.command()
@click.argument("job_id", metavar="ID")
@as_json
@target
def explain(inspector: Inspector, job_id: str, as_json: bool) -> None:
    """Why a job does not run, or ended as it did, and what to do about it.

    --json: an object with id, task, queue, state, and reasons: a list of objects with text and next_step.
    """
    found = inspector.explain(job_id)
    job = found.job
    if as_json:
        about = {"id": job.id, "task": job.task, "queue": job.queue, "state": job.state}
        output.print_json({**about, "reasons": found.reasons})
        return
    rows = [("•", lines(reason.text, advice(reason.next_step))) for reason in found.reasons]
    output.show(
        Styled(f"{job.task} in {job.queue} is {job.state}", coloured(job.state).style),
        output.table((Column(""), Column("", flexible=True)), rows, headed=False),
    )
