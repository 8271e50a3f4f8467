"""The options by which a command finds its broker, and the filters by which it finds jobs."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import click

from backburner import brokers
from backburner.brokers.base import Filter
from backburner.errors import BrokerError, ConfigError
from backburner.inspector import Inspector
from backburner.lifecycle import State
from backburner.settings import Settings

Command = Callable[..., Any]

_url = click.option(
    "--url", help="The broker, as in sqlite:///jobs.db or redis://localhost.  [default: $BACKBURNER_URL]"
)
_results = click.option(
    "--results",
    metavar="URL",
    help="With --url amqp://…: the broker beside it that keeps the jobs.  [default: $BACKBURNER_RESULTS]",
)
_app = click.option("--app", "app_path", metavar="MODULE:APP", help="The app, instead of --url.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
assume_yes = click.option("--yes", is_flag=True, help="Do not ask.")
ids = click.argument("ids", nargs=-1, metavar="ID...")


def target(command: Command) -> Command:
    """Give a command an inspector, of the broker that its --url or --app names."""
    return _targeting(command, must_exist=True)


def new_target(command: Command) -> Command:
    """`target`, for a command that works on a broker where nothing is stored yet, too."""
    return _targeting(command, must_exist=False)


def _targeting(command: Command, *, must_exist: bool) -> Command:
    @functools.wraps(command)
    def targeted(
        *args: Any, url: str | None, results: str | None, app_path: str | None, **options: Any
    ) -> Any:
        inspector = connect(url, app_path, results)
        broker = inspector.broker
        try:
            # A look at a misspelt path must not make an empty database there, and call it fine.
            if must_exist and not broker.exists():
                raise BrokerError(
                    f"there is nothing at {brokers.redacted(broker.url)} yet: check the URL, and with "
                    "a file the folder you are in; the first enqueue or `backburner migrate` makes it"
                )
            return command(inspector, *args, **options)
        finally:
            broker.close()

    return _app(_url(_results(targeted)))


def connect(url: str | None, app_path: str | None, results: str | None = None) -> Inspector:
    """The inspector of an app or of a broker. Raises `ConfigError`."""
    if app_path is None:
        if not (url or os.environ.get("BACKBURNER_URL")):
            raise ConfigError(
                "no broker: give --url sqlite:///jobs.db or --app MODULE:APP, or set BACKBURNER_URL"
            )
        settings = Settings.build(url, {"results": results})
        return Inspector(brokers.connect(settings.url, settings.results), settings)
    if url is not None:
        raise ConfigError("give --url or --app, not both")
    if results is not None:
        raise ConfigError("give --results with --url: the app at --app says itself where its results are")
    from backburner.loading import load_app

    return load_app(app_path).inspector


def filters(command: Command) -> Command:
    """Give a command a `Filter` made of the usual options; `--state` apart."""

    @functools.wraps(command)
    def filtered(
        *args: Any, queue: str | None, task: str | None, error: str | None, tag: str | None, **options: Any
    ) -> Any:
        return command(*args, which=Filter(queue=queue, task=task, error=error, tag=tag), **options)

    for option in (
        click.option("--tag", help="Only jobs with this tag."),
        click.option("--error", help="Only jobs with this text in their reason or in an error."),
        click.option("--task", help="Only jobs of this task."),
        click.option("--queue", help="Only jobs of this queue."),
    ):
        filtered = option(filtered)
    return filtered


def paged(command: Command) -> Command:
    """Give a command the options of a page of a list."""
    before = click.option("--before", metavar="ID", help="Only jobs listed after this one: the next page.")
    limit = click.option(
        "--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="Jobs a page."
    )
    return limit(before(command))


states = click.option(
    "--state",
    "states",
    type=click.Choice([str(state) for state in State]),
    multiple=True,
    help="Only jobs in this state; may be given again.",
)
