"""`backburner copy`: move what waits and what is dead to another broker."""

from __future__ import annotations

import sys

import click

from backburner import brokers
from backburner.cli.output import print_json
from backburner.cli.target import as_json
from backburner.copying import Copied
from backburner.errors import BrokerError
from backburner.words import plural


@click.command()
@click.argument("from_url")
@click.argument("to_url")
@click.option("--from-results", metavar="URL", help="Where FROM_URL is amqp://, the broker beside it.")
@click.option("--to-results", metavar="URL", help="The same for TO_URL.")
@as_json
def copy(from_url: str, to_url: str, from_results: str | None, to_results: str | None, as_json: bool) -> None:
    """Move all waiting, scheduled and dead jobs from one broker to another.

    Safe to repeat. The queues of FROM_URL are paused meanwhile, and stay so if this does not get to its end;
    jobs that run there stay. --json: what was done (`backburner.copying.Copied`).
    """
    from backburner.copying import copy

    source, target = brokers.connect(from_url, from_results), brokers.connect(to_url, to_results)
    try:
        if not source.exists():
            raise BrokerError(f"there is nothing at {brokers.redacted(source.url)}: check the URL")
        if sys.stderr.isatty():
            with click.progressbar(length=1, label="Moving", file=sys.stderr) as bar:

                def advance(done: int, total: int) -> None:
                    bar.length = total
                    bar.update(done - bar.pos)

                copied = copy(source, target, advance)
        else:
            copied = copy(source, target)
    finally:
        source.close()
        target.close()
    if as_json:
        print_json(copied)
    else:
        _say(copied, brokers.redacted(to_url))


def _say(copied: Copied, to_url: str) -> None:
    click.echo(f"moved {plural(copied.moved, 'job', 'jobs')} to {to_url}")
    if copied.schedules:
        click.echo(f"moved {plural(copied.schedules, 'periodic task', 'periodic tasks')} made at run time")
    if copied.running:
        click.echo(f"{plural(copied.running, 'job runs', 'jobs run')} still, and stayed: repeat this later")
    if copied.paused:
        click.echo(
            f"paused before, and still: {', '.join(copied.paused)}; "
            "`backburner queues resume` lets its workers go on"
        )
    if copied.unreadable:
        some = ", ".join(copied.unreadable[:5]) + (" …" if len(copied.unreadable) > 5 else "")
        stayed = plural(len(copied.unreadable), "job", "jobs")
        click.echo(
            f"{stayed} stayed, as this version cannot read all of what is stored: {some}; "
            "`backburner explain ID` says why"
        )
    if copied.kept:
        some = ", ".join(copied.kept[:5]) + (" …" if len(copied.kept) > 5 else "")
        stayed = plural(len(copied.kept), "job", "jobs")
        click.echo(f"{stayed} stayed, as another job there has the idempotency key: {some}")
