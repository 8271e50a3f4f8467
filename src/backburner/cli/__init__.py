"""The command line. Each command is a small file of its own, loaded when it is used.

Exit codes: 0 all right; 1 it failed, or there is no such thing; 2 wrong usage or configuration.
"""

from __future__ import annotations

import sys
from importlib import import_module
from io import TextIOWrapper
from typing import Any

import click

from backburner.errors import BackburnerError, ConfigError

COMMANDS = {
    "worker": "Run jobs.",
    "stats": "Depth, latency, throughput and failures.",
    "jobs": "List, show and cancel jobs.",
    "dead": "List, show, retry, delete and export dead letters.",
    "queues": "List, pause and resume queues.",
    "schedules": "List, pause, resume and delete periodic tasks.",
    "workers": "List the workers.",
    "explain": "Why a job does not run, or ended as it did.",
    "enqueue": "Enqueue a job.",
    "migrate": "Bring the broker's storage up to this version.",
    "copy": "Move waiting, scheduled and dead jobs to another broker.",
    "doctor": "Look for what is wrong, and say what to do.",
    "demo": "Make thumbnails of real photographs, and watch.",
}


class Failure(click.ClickException):
    """It failed, or there is no such thing: one line, without a traceback."""

    def show(self, file: Any = None) -> None:
        click.echo(f"error: {self.message}", file=file, err=True)


class Group(click.Group):
    """Commands that are told from a misspelt one by its nearest name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, known = args[0], self.list_commands(ctx)
        if name not in known and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(str(ConfigError.unknown("command", name, known)), ctx)
        return super().resolve_command(ctx, args)


class ListGroup(Group):
    """`backburner jobs` is short for `backburner jobs list`, with its options."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        listing = not args or (args[0].startswith("-") and args[0] != "--help")
        if listing and not ctx.resilient_parsing:  # which is how a shell asks for completions
            args = ["list", *args]
        return super().parse_args(ctx, args)


class MainGroup(Group):
    """Loads a command when it is used; turns the library's errors into exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BackburnerError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.exit_code)


EPILOG = """\b
Exit codes: 0 all right; 1 it failed, or there is no such thing; 2 wrong usage or configuration.
Completion: eval "$(_BACKBURNER_COMPLETE=bash_source backburner)"  (or zsh_source, fish_source)
"""


@click.group(cls=MainGroup, epilog=EPILOG)
@click.version_option(package_name="backburner")
def main() -> None:
    """Backburner, a task queue for Python.

    An app is named MODULE:ATTRIBUTE, as in shop.tasks:app; the current folder is on the import path.
    Commands that need no code take --url instead, or the environment's BACKBURNER_URL (and for RabbitMQ
    --results, or BACKBURNER_RESULTS).
    """
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal without UTF-8 gets question marks, no traceback
        sys.stdout.reconfigure(errors="replace")
