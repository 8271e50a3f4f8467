"""RabbitMQ alone: how many jobs a second go in and are run, beside the bare loop of the same client and
dramatiq.

1. A node of the benchmark's own; quorum queues for Backburner and the bare loop. dramatiq declares its own,
   which are durable and classic.
2. Jobs do nothing but count themselves (`tally.py`), in both libraries. A drain is counted from the first
   one's start to the last one's; all were enqueued before.
3. dramatiq, the fastest Python library on RabbitMQ of those that were looked at, runs from a virtual
   environment of its own: at its defaults (on two cores, two processes of eight threads), and at the best
   settings that were tried, with fewer threads and a longer prefetch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from backburner import Backburner
from bench import bare_rabbitmq as bare
from bench.figures import Sample, Sizes
from bench.tally import Tally
from bench.worker import ROOT
from peers.environments import interpreter
from peers.systems import DRAMATIQ_PACKAGE
from tests.servers.rabbitmq import RabbitServer

PATIENCE = 60.0
JOBS = 20_000

BARE_PUBLISH, BARE_CONSUME = "bare publish", "bare consume"
BARE_CYCLE = "bare publish and consume, one after the other"
BARE_SINGLE = "bare publish, each confirmed before the next"
BULK, SINGLE = "enqueue in bulk", "enqueue one by one"
DRAIN, DRAIN_TWO, DRAIN_FUNCTIONS = (
    "drain, coroutines",
    "drain, coroutines, 2 processes",
    "drain, functions",
)
CYCLE = "enqueue in bulk and drain, one after the other"
PEER_SEND, PEER_CONFIRMED = "dramatiq: send, not confirmed", "dramatiq: send, each confirmed"
PEER_DRAIN, PEER_TUNED = "dramatiq: drain, defaults", "dramatiq: drain, tuned"
TUNED = ({"dramatiq_queue_prefetch": "1000"}, ("--processes", "2", "--threads", "4"))


def measure(sizes: Sizes, folder: Path) -> Iterator[Sample]:
    jobs, singles = min(sizes.drain, JOBS), sizes.enqueue
    python = interpreter("dramatiq", DRAMATIQ_PACKAGE)
    with RabbitServer() as server:
        bare.publish(server.url, jobs)  # the node and the clients warm up
        bare.consume(server.url, jobs)
        published, consumed = bare.publish(server.url, jobs), bare.consume(server.url, jobs)
        yield Sample(BARE_PUBLISH, published, "jobs/s")
        yield Sample(BARE_CONSUME, consumed, "jobs/s")
        yield Sample(BARE_CYCLE, _after_each_other(published, consumed), "jobs/s")
        enqueued, drained = _ours(server.url, folder, "coroutine", jobs)
        yield Sample(BULK, enqueued, "jobs/s")
        yield Sample(DRAIN, drained, "jobs/s")
        yield Sample(CYCLE, _after_each_other(enqueued, drained), "jobs/s")
        sent, ran = _theirs(server.url, folder, python, jobs)
        yield Sample(PEER_SEND, sent, "jobs/s")
        yield Sample(PEER_DRAIN, ran, "jobs/s")
        yield Sample(DRAIN_TWO, _ours(server.url, folder, "coroutine", jobs, "--processes=2")[1], "jobs/s")
        yield Sample(PEER_TUNED, _theirs(server.url, folder, python, jobs, *TUNED)[1], "jobs/s")
        yield Sample(DRAIN_FUNCTIONS, _ours(server.url, folder, "function", jobs)[1], "jobs/s")
        yield Sample(BARE_SINGLE, bare.publish(server.url, singles, window=1), "jobs/s")
        bare.consume(server.url, singles)
        yield Sample(SINGLE, _singly(server.url, singles), "jobs/s")
        yield Sample(PEER_CONFIRMED, _send(server.url, folder, python, singles, "confirmed"), "jobs/s")


def _after_each_other(one: float, other: float) -> float:
    return 1 / (1 / one + 1 / other)


def _ours(url: str, folder: Path, task: str, jobs: int, *options: str) -> tuple[float, float]:
    """Jobs enqueued, and run, a second."""
    url = f"{url}?prefix={uuid.uuid4().hex}"
    app = Backburner(url)
    named = app.named(f"bench.counted.{task}")
    named.enqueue(0)  # declares what there has to be
    began = time.perf_counter()
    named.enqueue_many((number,) for number in range(jobs - 1))
    rate = (jobs - 1) / (time.perf_counter() - began)
    app.close()
    command = [sys.executable, "-m", "backburner", "worker", "bench.counted:app", *options]
    return rate, _drained(command, url, folder, jobs)


def _singly(url: str, jobs: int) -> float:
    app = Backburner(f"{url}?prefix={uuid.uuid4().hex}")
    task = app.named("bench.counted.coroutine")
    task.enqueue(0)
    began = time.perf_counter()
    for number in range(jobs):
        task.enqueue(number)
    rate = jobs / (time.perf_counter() - began)
    app.close()
    return rate


def _theirs(
    url: str,
    folder: Path,
    python: Path,
    jobs: int,
    settings: dict[str, str] | None = None,
    options: Sequence[str] = (),
) -> tuple[float, float]:
    rate = _send(url, folder, python, jobs)
    command = [str(python.parent / "dramatiq"), "bench.on_dramatiq", *options]
    return rate, _drained(command, url, folder, jobs, settings)


def _send(url: str, folder: Path, python: Path, jobs: int, *options: str) -> float:
    command = [str(python), "-m", "bench.on_dramatiq", str(jobs), *options]
    environment = _settings(url, folder / "unused")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    if options:  # only the rate is wanted
        purge = [str(python), "-m", "bench.on_dramatiq", "0", "flush"]
        subprocess.run(purge, cwd=ROOT, env=environment, capture_output=True, check=True)
    return float(done.stdout)


def _drained(
    command: Sequence[str], url: str, folder: Path, jobs: int, settings: dict[str, str] | None = None
) -> float:
    path = folder / f"tally-{uuid.uuid4().hex}"
    tally = Tally(path)
    environment = {**_settings(url, path), **(settings or {})}
    with (folder / "worker.log").open("w+") as log:
        worker = psutil.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            end = time.monotonic() + PATIENCE
            while (counted := tally.read()).jobs < jobs:
                if time.monotonic() > end or worker.poll() is not None:
                    log.seek(0)
                    raise TimeoutError(f"{counted.jobs} of {jobs} jobs ran:\n{log.read()}")
                time.sleep(0.05)
        finally:
            worker.terminate()
            worker.wait()
    return jobs / (counted.last - counted.first)


def _settings(url: str, tally: Path) -> dict[str, str]:
    return {**os.environ, "BENCH_URL": url, "BENCH_TALLY": str(tally)}
