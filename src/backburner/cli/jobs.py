"""`backburner jobs`: list, show and cancel jobs."""

from __future__ import annotations

import click
import msgspec

from backburner.brokers.base import Filter
from backburner.cli import Failure, ListGroup, output
from backburner.cli.render import job_page, job_table
from backburner.cli.target import as_json, assume_yes, filters, ids, paged, states, target
from backburner.inspector import Inspector
from backburner.lifecycle import State
from backburner.views import job_view
from backburner.words import plural


@click.group(cls=ListGroup)
def jobs() -> None:
    """List, show and cancel jobs; without a command, list them."""


@jobs.command("list")
@states
@filters
@paged
@as_json
@target
def list_jobs(
    inspector: Inspector,
    states: tuple[str, ...],
    which: Filter,
    limit: int,
    before: str | None,
    as_json: bool,
) -> None:
    """List jobs, newest first. --json: a list of jobs (`backburner.views.JobView`)."""
    wanted = tuple(State(state) for state in states)
    show_list(inspector, msgspec.structs.replace(which, states=wanted, limit=limit, before=before), as_json)


@jobs.command()
@click.argument("job_id", metavar="ID")
@as_json
@target
def show(inspector: Inspector, job_id: str, as_json: bool) -> None:
    """Show one job: arguments, result, progress, the whole history. --json: a job with its history."""
    show_one(inspector, job_id, as_json)


@jobs.command()
@ids
@click.option("--reason", default="cancelled by an operator", show_default=True, help="Stored with the job.")
@assume_yes
@target
def cancel(inspector: Inspector, ids: tuple[str, ...], reason: str, yes: bool) -> None:
    """Cancel jobs that wait, and ask the workers to stop those that run."""
    confirm_ids(ids)
    if not yes:
        click.confirm(f"Cancel {plural(len(ids), 'job', 'jobs')}?", abort=True)
    done = inspector.cancel(ids, reason)
    click.echo(f"cancelled, or asked to stop: {plural(len(done), 'job', 'jobs')}")
    complain(inspector, ids, done)


def show_list(inspector: Inspector, which: Filter, as_json: bool) -> None:
    """Print a page of jobs."""
    found = inspector.jobs(which)
    if as_json:
        output.print_json([job_view(job) for job in found])
    elif not found:
        click.echo("no such jobs")
    else:
        errors = inspector.errors([job.id for job in found if job.state in (State.DEAD, State.RETRYING)])
        output.show(job_table(found, errors, inspector.broker.now()))
        if len(found) == which.limit:
            click.echo(f"there may be more: --before {found[-1].id}", err=True)


def show_one(inspector: Inspector, job_id: str, as_json: bool) -> None:
    """Print everything about one job."""
    job = inspector.job(job_id)
    history = inspector.history(job_id)
    if as_json:
        output.print_json(job_view(job, history))
    else:
        output.show(*job_page(job, history, inspector.broker.now()))


def confirm_ids(ids: tuple[str, ...]) -> None:
    """Raise a usage error when no id was given."""
    if not ids:
        raise click.UsageError("which jobs? give their ids")


def complain(inspector: Inspector, ids: tuple[str, ...], done: list[str]) -> None:
    """Say of each job why nothing was done to it, and fail."""
    left = [job_id for job_id in ids if job_id not in done]
    if left:
        found = {job.id: job.state for job in inspector.broker.run(inspector.broker.get(left))}
        raise Failure("; ".join(f"{each} is {found.get(each, 'not there')}" for each in left))
