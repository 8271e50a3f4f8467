"""What people and programs read on standard output. rich is imported only when a table is drawn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

COLOURS = {
    "blocked": "dim",
    "scheduled": "cyan",
    "queued": "cyan",
    "running": "blue",
    "retrying": "yellow",
    "succeeded": "green",
    "dead": "red",
    "cancelled": "magenta",
    "paused": "yellow",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
}
"""By the word: states, levels."""
UNLIMITED = 100_000
_CONTROLS = {
    code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"
}


class Column(NamedTuple):
    """A column of a table. The flexible ones are folded where the terminal is narrow."""

    title: str
    right: bool = False
    flexible: bool = False


@dataclass(frozen=True, slots=True)
class Styled:
    """Text in a style of rich's."""

    text: str
    style: str


@dataclass(frozen=True, slots=True)
class Lines:
    """Several lines in one cell."""

    lines: tuple[str | Styled, ...]


Cell = str | Styled | Lines


def lines(*given: str | Styled | None) -> Lines:
    """The lines that are not None, one below the other."""
    return Lines(tuple(line for line in given if line is not None))


def dim(text: str) -> Styled:
    """Text that matters less."""
    return Styled(text, "dim")


def advice(next_step: str | None) -> Styled | None:
    """A next step as a line."""
    return None if next_step is None else dim(f"→ {next_step}")


def print_json(value: Any) -> None:
    """One JSON document, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


def coloured(word: str) -> Styled:
    """A state or a level in its colour."""
    return Styled(word, COLOURS.get(word, ""))


def table(
    columns: Sequence[Column], rows: Iterable[Sequence[Cell]], *, headed: bool = True
) -> RenderableType:
    """A table without rules."""
    from rich.table import Table

    drawn = Table(box=None, show_header=headed, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        drawn.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=not column.flexible,
            overflow="fold" if column.flexible else "ellipsis",
        )
    for row in rows:
        drawn.add_row(*(_text(cell) for cell in row))
    return drawn


def show(*shown: RenderableType | Styled) -> None:
    """Print for people: in colour and as wide as the terminal, or plain and as wide as needed."""
    console = _console()
    if console.is_terminal:
        console.print(*map(_renderable, shown), sep="\n")
        return
    with console.capture() as captured:
        console.print(*map(_renderable, shown), sep="\n")
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


@contextmanager
def live() -> Iterator[Callable[[RenderableType], None]]:
    """Gives a function that shows something in the place of what it showed before."""
    console = _console()
    if not console.is_terminal:
        yield show
        return
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as screen:
        yield lambda shown: screen.update(shown, refresh=True)


def group(*shown: RenderableType | Styled) -> RenderableType:
    """Several things, one below the other."""
    from rich.console import Group

    return Group(*map(_renderable, shown))


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else UNLIMITED)


def _renderable(shown: RenderableType | Styled) -> RenderableType:
    return _text(shown) if isinstance(shown, str | Styled) else shown


def _text(cell: Cell) -> Text:
    """As text and not as markup: users' values may hold brackets, and codes that a terminal would obey."""
    from rich.text import Text

    if isinstance(cell, str):
        return Text(cell.translate(_CONTROLS))
    if isinstance(cell, Styled):
        return Text(cell.text.translate(_CONTROLS), cell.style)
    return Text("\n").join(_text(line) for line in cell.lines)
