"""`backburner enqueue`: put a job in a queue by hand."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from backburner.cli import output
from backburner.cli.number import Number
from backburner.errors import ConfigError
from backburner.loading import load_app
from backburner.views import job_view


@click.command()
@click.argument("app_path", metavar="APP")
@click.argument("task")
@click.argument("args", nargs=-1)
@click.option("--kwargs", default="{}", metavar="JSON", help='Keyword arguments, as in {"size": 64}.')
@click.option("--queue", help="Instead of the task's own.")
@click.option("--priority", type=click.IntRange(-100, 100), help="Larger is sooner.")
@click.option("--delay", type=Number(0), help="Due in that many seconds.")
@click.option("--wait", is_flag=True, help="Wait until it is final, and print its result as JSON.")
@click.option("--timeout", type=Number(0), help="Seconds to wait at most.")
@click.option("--json", "as_json", is_flag=True, help="Print the job as JSON (`backburner.views.JobView`).")
def enqueue(
    app_path: str,
    task: str,
    args: tuple[str, ...],
    kwargs: str,
    wait: bool,
    timeout: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Enqueue a job of TASK in APP (MODULE:ATTRIBUTE), and print its id.

    ARGS are JSON where they parse, and text elsewhere: 42 is a number, '"42"' and abc are text. They are
    checked against the task's annotations here. Write -- before arguments that begin with a dash.
    """
    if timeout is not None and not wait:
        raise click.UsageError("--timeout says how long to wait: give --wait, too")
    app = load_app(app_path)
    try:
        found = app.find_task(task)
        given = {name: value for name, value in options.items() if value is not None}
        placed = found.using(**given) if given else found
        positional, named = [_value(text) for text in args], _named(kwargs)
        # A worker would send what does not fit to the dead letters; here it is a slip of the fingers.
        if found.signature is not None:
            found.signature.decode(found.prepare(positional, named).payload)
        job = placed.enqueue(*positional, **named)
        if wait:
            job.result(timeout)
        if as_json:
            output.print_json(job_view(job.record))
        else:
            click.echo((job.record.result or b"null").decode() if wait else job.id)
    finally:
        app.close()


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _named(text: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ConfigError(f"--kwargs takes a JSON object, as in '{{\"size\": 64}}': {error}") from error
