"""The process that runs `cpu=True` functions: `python -m backburner.worker.cpu FD`. See `processes.py`."""

from __future__ import annotations

import importlib
import os
import select
import signal
import socket
import sys
import threading
import time
from functools import reduce
from io import BufferedRWPair

import msgspec

from backburner.context import CurrentJob
from backburner.errors import TaskNotFound
from backburner.task import Task
from backburner.words import storable
from backburner.worker.call import call
from backburner.worker.outcome import Verdict, described, verdict
from backburner.worker.processes import LENGTH, Reply, Request


def main(descriptor: int) -> None:
    # Only the worker ends this process: a signal to the whole group must not cut a job short.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=end_with_the_worker, args=(descriptor,), daemon=True).start()
    with socket.socket(fileno=descriptor) as connection, connection.makefile("rwb") as stream:
        while header := stream.read(LENGTH.size):
            (length,) = LENGTH.unpack(header)
            reply = answer(msgspec.json.decode(stream.read(length), type=Request), stream)
            send(stream, msgspec.json.encode(reply))


def end_with_the_worker(descriptor: int) -> None:
    """Its worker was killed, and the job runs elsewhere by now: an hour's work would be done twice."""
    hang_up = select.poll()
    hang_up.register(descriptor, 0)
    hang_up.poll()
    os._exit(1)


def send(stream: BufferedRWPair, data: bytes) -> None:
    stream.write(LENGTH.pack(len(data)) + data)
    stream.flush()


def answer(request: Request, stream: BufferedRWPair) -> Reply:
    job = request.job
    try:
        task = find(request.module, request.qualname)
    except Exception as error:  # noqa: BLE001 - whatever an import raises is what the job died of
        return Reply(
            verdict=Verdict("die", described(error), storable(f"task {job.task} cannot be loaded: {error}"))
        )
    send(stream, b"")
    deadline = None if request.limit is None else time.monotonic() + request.limit
    current = CurrentJob(task.app, job, deadline)
    try:
        result = call(task.app, task, job.payload, current)
    except BaseException as error:  # noqa: BLE001 - SystemExit, too, is the outcome of the job
        reply = Reply(verdict=verdict(task, job, error, task.app.settings, task.app.broker.now()))
    else:
        reply = Reply(result, current.follow_ups)
    if current.completion is not None:
        reply.completed, reply.result = True, current.completion.result
    return reply


def find(module: str, qualname: str) -> Task[..., object]:
    """The task by where its function is declared. Raises `TaskNotFound` if it is not there."""
    found = reduce(getattr, qualname.split("."), importlib.import_module(module))
    if not isinstance(found, Task):
        raise TaskNotFound(
            f"{module}.{qualname} is not the task: a cpu=True task must be at the top of its module, "
            "under the name of its function"
        )
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]))
