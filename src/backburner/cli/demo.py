"""`backburner demo`: a web application, a worker that runs eight jobs at a time, and real photographs."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import shutil
import signal
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from backburner import Backburner
from backburner.cli.output import print_json
from backburner.cli.target import as_json as json_option
from backburner.demo.services import Services, example_folder
from backburner.errors import MissingDependency

if TYPE_CHECKING:
    from backburner.demo.load import Moment
    from backburner.demo.report import Summary

NEEDED = {
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "httpx": "httpx",
    "PIL": "pillow",
    "python_multipart": "python-multipart",
}


@click.command()
@click.option("--uploads", type=click.IntRange(1), default=300, show_default=True, help="Photos to upload.")
@click.option("--workers", type=click.IntRange(1), default=8, show_default=True, help="Jobs at a time.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the web page; 0 takes a free one.")
@click.option("--serve", is_flag=True, help="Keep the web page open until Ctrl-C.")
@click.option("--keep", is_flag=True, help="Keep the uploads, the database and the logs, too.")
@json_option
def demo(*, uploads: int, workers: int, port: int, serve: bool, keep: bool, as_json: bool) -> None:
    """Make thumbnails of real photographs, in a web application with a worker, and check every one.

    It runs on one SQLite file in a temporary folder. The storage fails now and then, and one file is no
    photograph, so that retries and a dead letter are seen. Ends with exit code 0 when all is as it should be.
    """
    _require_extra()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # stop the same way
    console = Console(stderr=as_json, quiet=as_json)
    folder = Path(tempfile.mkdtemp(prefix="backburner-demo-"))
    good = False
    try:
        with Services(folder, {"AVATARS_FAILURE_RATE": "0.1"}) as running:
            running.start_web(port)
            running.start_worker(workers)
            summary = _run(running, uploads, console)
            if as_json:
                print_json(summary)
            else:
                _print(console, summary)
            good = not summary.problems
            if serve:
                _serve(running)
    finally:
        if good and not keep:
            _keep_only_thumbnails(folder)
        elif any(folder.iterdir()):
            click.echo(f"Everything is in {folder}", err=True)
        else:
            folder.rmdir()
    sys.exit(0 if good else 1)


def _require_extra() -> None:
    missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingDependency(f"the demo needs {', '.join(missing)}: run pip install 'backburner[demo]'")


def _run(running: Services, uploads: int, console: Console) -> Summary:
    # Only now: these two need the packages of the extra.
    from backburner.demo.load import load
    from backburner.demo.report import summarize

    console.print(f"Web page at {running.url}, its data in {running.folder}")
    bars = Progress(
        TextColumn("{task.description:>9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )
    with contextlib.closing(Backburner(running.broker)) as app, bars:
        files = _files(uploads)
        uploaded = bars.add_task("uploaded", total=len(files), note="")
        finished = bars.add_task("finished", total=len(files), note="")

        def show(moment: Moment) -> None:
            counts = moment.counts
            shown = ", ".join(
                f"{counts[state]} {state}"
                for state in ("queued", "running", "retrying", "dead")
                if counts.get(state)
            )
            bars.update(uploaded, completed=moment.uploaded)
            bars.update(
                finished,
                completed=moment.finished,
                note=f"{moment.finished / moment.seconds:.0f} a second  {shown}",
            )

        done = asyncio.run(load(running, app, files, show))
        return summarize(running.url, app, done, running.folder / "thumbnails")


def _files(uploads: int) -> list[Path]:
    """Take the photographs in turn, and once the file that is none."""
    photos = sorted((example_folder() / "photos").glob("*.jpg"))
    bad = [photo for photo in photos if photo.name == "not-a-photo.jpg"]
    good = [photo for photo in photos if photo not in bad]
    return [*good[:uploads], *bad, *islice(cycle(good), len(good), uploads)]


def _print(console: Console, summary: Summary) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold", justify="right")
    table.add_column()
    again = f", {summary.refused} more refused while the queue was full" if summary.refused else ""
    table.add_row("requests", f"{summary.uploads} answered 202{again}")
    table.add_row(
        "request time", f"p50 {1e3 * summary.request_p50:.1f} ms, p99 {1e3 * summary.request_p99:.1f} ms"
    )
    table.add_row("jobs", f"{summary.jobs_per_second:.1f} a second, {summary.seconds:.1f} s in all")
    table.add_row("succeeded", str(summary.succeeded))
    table.add_row("retries", f"{summary.retries}, because the storage failed now and then")
    for dead in summary.dead:
        table.add_row("dead", f"{dead.file}: {dead.reason}")
    table.add_row("thumbnails", f"{summary.thumbnails}, each opened and checked, in {summary.folder}")
    console.print(table)
    for problem in summary.problems:
        console.print(f"Wrong: {problem}", style="red")


def _serve(running: Services) -> None:
    click.echo(f"The page stays open at {running.url} until Ctrl-C.", err=True)
    try:
        while True:
            running.check()
            time.sleep(0.5)
    except KeyboardInterrupt:
        click.echo("Stopping …", err=True)


def _keep_only_thumbnails(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and path.name != "thumbnails":
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()
