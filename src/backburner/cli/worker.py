"""`backburner worker`: run jobs."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from backburner.cli.number import Number

DEFAULT_CPUS = os.cpu_count() or 1


@click.command()
@click.argument("app_path", metavar="APP")
@click.option(
    "--queues", metavar="NAMES", help="a,b: strictly in that order; a=3,b=1: by weight. [default: all]"
)
@click.option("--processes", type=click.IntRange(1), default=1, show_default=True, help="Worker processes.")
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Coroutines at once, a process.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Plain functions at once, a process.",
)
@click.option(
    "--cpu-processes",
    type=click.IntRange(1),
    default=DEFAULT_CPUS,
    show_default="cores",
    help="cpu=True functions at once, a process.",
)
@click.option(
    "--grace",
    type=Number(0),
    default=25.0,
    show_default=True,
    help="Seconds that running jobs have to end when the worker stops.",
)
@click.option("--drain", is_flag=True, help="End when nothing is left to run.")
@click.option("--max-jobs", type=click.IntRange(1), help="Replace a process after so many jobs.")
@click.option("--max-memory", type=Number(1), help="Replace a process that holds more megabytes.")
@click.option(
    "--unresponsive",
    type=Number(2),
    default=120.0,
    show_default=True,
    help="Replace a process whose event loop has not answered for so many seconds.",
)
@click.option("--health", metavar="HOST:PORT", help="Serve /live, /ready and /status there.")
@click.option("--reload", is_flag=True, help="Start anew when a Python file changes; for development.")
def worker(app_path: str, queues: str | None, **options: Any) -> None:
    """Run the jobs of APP (MODULE:ATTRIBUTE, as in shop.tasks:app) until SIGTERM or Ctrl-C.

    Then running jobs have the grace time to end; what does not is handed back without an attempt burnt. A
    second signal hurries. SIGUSR1 stops claiming without stopping, and again goes on.
    """
    from backburner.worker.options import WorkerOptions
    from backburner.worker.supervisor import main

    given = {**options, "queues": queues} if queues else options
    sys.exit(main(app_path, WorkerOptions.build(given)))
