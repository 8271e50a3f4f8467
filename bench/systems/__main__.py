"""`python -m bench.systems LIBRARY COMMAND …`: the benchmark's hand in a library's own environment.

`describe` says what there is, `prepare` makes the tables, `enqueue` enqueues and says how long it took, and
`worker` becomes a worker. What is said is a line of JSON. BENCH_URL names the broker, BENCH_FOLDER the folder
in which jobs count themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from importlib import import_module, metadata
from types import FrameType
from typing import Any

from bench.systems import enqueue
from bench.systems.adapter import Adapter, Load


def describe(adapter: Adapter) -> dict[str, Any]:
    versions = {"Python": platform.python_version()}
    for package in adapter.packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "none"
    return {
        "kinds": adapter.kinds,
        "ways": [
            way
            for way, (method, _) in enqueue.WAYS.items()
            if adapter.offers(method) and (adapter.thread_safe or way != "threads")
        ],
        "guarantee": adapter.guarantee,
        "settings": adapter.settings,
        "at_least_once": adapter.at_least_once,
        "without": adapter.without,
        "versions": versions,
    }


def work(commands: list[list[str]]) -> None:
    """Become the worker, or the parent of its processes, which are told to end when this one is."""
    programs = os.pathsep.join((os.path.dirname(sys.executable), os.environ["PATH"]))  # noqa: PTH120
    commands = [[shutil.which(name, path=programs) or name, *options] for name, *options in commands]
    if len(commands) == 1:
        os.execv(commands[0][0], commands[0])  # noqa: S606 - it is our own
    running = [subprocess.Popen(command) for command in commands]

    def tell(number: int, _: FrameType | None) -> None:
        for each in running:
            each.send_signal(number)

    signal.signal(signal.SIGTERM, tell)
    for each in running:
        each.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.systems", description=__doc__)
    parser.add_argument("library")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("describe")
    commands.add_parser("prepare")
    sending = commands.add_parser("enqueue")
    sending.add_argument("--how", required=True, choices=[*enqueue.WAYS])
    sending.add_argument("--job", default="noop")
    sending.add_argument("--count", type=int, required=True)
    sending.add_argument(
        "--rate", type=float, help="Jobs a second, at random times; as many as go otherwise."
    )
    worker = commands.add_parser("worker")
    worker.add_argument("--concurrency", type=int)
    worker.add_argument("--processes", type=int)
    for each in sending, worker:
        each.add_argument("--kind", required=True)
    given = parser.parse_args()

    adapter: Adapter = import_module(f"bench.systems.{given.library}").adapter
    said: dict[str, Any] = {}
    if given.command == "describe":
        said = describe(adapter)
    elif given.command == "prepare":
        adapter.prepare()
    elif given.command == "enqueue":
        said = enqueue.enqueue(adapter, given.how, given.kind, given.job, given.count, given.rate)
    else:
        os.environ["BENCH_CONCURRENCY"] = str(given.concurrency or 0)
        work(adapter.workers(Load(given.kind, given.concurrency, given.processes)))
    adapter.close()
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
