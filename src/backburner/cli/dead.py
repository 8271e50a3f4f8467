"""`backburner dead`: the dead letters."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click
import msgspec

from backburner.brokers.base import Filter
from backburner.cli import ListGroup
from backburner.cli.jobs import complain, show_list, show_one
from backburner.cli.target import Command, as_json, assume_yes, filters, ids, paged, target
from backburner.inspector import Inspector, Progress
from backburner.lifecycle import State
from backburner.words import plural

Act = Callable[[list[str], Progress | None], list[str]]


@click.group(cls=ListGroup)
def dead() -> None:
    """List, show, retry, delete and export dead letters; without a command, list them."""


@dead.command("list")
@filters
@paged
@as_json
@target
def list_dead(inspector: Inspector, which: Filter, limit: int, before: str | None, as_json: bool) -> None:
    """List dead letters, newest first. --json: a list of jobs (`backburner.views.JobView`)."""
    show_list(inspector, msgspec.structs.replace(_dead(which), limit=limit, before=before), as_json)


@dead.command()
@click.argument("job_id", metavar="ID")
@as_json
@target
def show(inspector: Inspector, job_id: str, as_json: bool) -> None:
    """Show one job with its whole history. --json: a job with its history."""
    show_one(inspector, job_id, as_json)


def chosen(command: Command) -> Command:
    """By id, by filter, or all."""
    every = click.option("--all", "everything", is_flag=True, help="All dead letters.")
    return ids(every(filters(assume_yes(command))))


@dead.command()
@chosen
@target
def retry(inspector: Inspector, ids: tuple[str, ...], which: Filter, everything: bool, yes: bool) -> None:
    """Queue dead letters again, with all their attempts. By id, cancelled jobs, too."""
    _act(
        inspector,
        "retry",
        "retried",
        inspector.retry,
        ids,
        which,
        everything=everything,
        yes=yes or bool(ids),
    )


@dead.command()
@chosen
@target
def delete(inspector: Inspector, ids: tuple[str, ...], which: Filter, everything: bool, yes: bool) -> None:
    """Delete dead letters for good. By id, other final jobs, too."""
    _act(inspector, "delete", "deleted", inspector.delete, ids, which, everything=everything, yes=yes)


@dead.command()
@filters
@target
def export(inspector: Inspector, which: Filter) -> None:
    """Print dead letters as lines of JSON, each a job with its history (`backburner.views.JobView`)."""
    for line in inspector.export(inspector.ids(_dead(which))):
        click.echo(line, nl=False)


def _act(
    inspector: Inspector,
    verb: str,
    past: str,
    act: Act,
    ids: tuple[str, ...],
    which: Filter,
    *,
    everything: bool,
    yes: bool,
) -> None:
    filtered = which != Filter()
    if bool(ids) + filtered + everything != 1:
        raise click.UsageError(
            f"which jobs? give ids, or --queue, --task, --error, --tag, or --all to {verb} all"
        )
    found = list(ids) or inspector.ids(_dead(which))
    if not found:
        click.echo("no such dead letters")
        return
    if not yes:
        click.confirm(f"{verb.capitalize()} {plural(len(found), 'job', 'jobs')}?", abort=True)
    if ids or not sys.stderr.isatty():
        done = act(found, None)
    else:
        with click.progressbar(length=len(found), label=verb.capitalize(), file=sys.stderr) as bar:
            done = act(found, lambda so_far, _: bar.update(so_far - bar.pos))
    click.echo(f"{past} {plural(len(done), 'job', 'jobs')}")
    complain(inspector, ids, done)


def _dead(which: Filter) -> Filter:
    return msgspec.structs.replace(which, states=(State.DEAD,))
