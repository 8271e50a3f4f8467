"""The path of a job stays short: indirection cannot creep in unseen. Counts, not times."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import backburner
from backburner import Backburner, JobFailed, Retry
from backburner.lifecycle import ErrorInfo
from backburner.worker import outcome
from tests.servers.fixtures import installed
from tests.stores import URLS

LIBRARY = str(Path(backburner.__file__).parent)


# The loop's steps for a whole batch, which go on while a single job runs.
BATCH = {
    f"Worker.{name}"
    for name in ("_claim", "_exchange", "_settled", "_idle", "_give_back", "_at_rest", "_stop_listening")
}


def belongs_to_the_batch(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_qualname in BATCH:
            return True
        frame = frame.f_back
    return False


class Recorder:
    """Notes the library's own functions that are called after `first` began, until `last` returns."""

    def __init__(self, first: str, last: str) -> None:
        self.first, self.last = first, last
        self.codes: set[CodeType] = set()
        self.state = "before"

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(LIBRARY) or code.co_name.startswith("<"):
            return
        if code.co_qualname == "Worker.run":  # the loop itself, going on
            return
        if event == "call" and self.state == "before" and code.co_qualname == self.first:
            self.state = "within"
        if event == "call" and self.state == "within" and not belongs_to_the_batch(frame):
            self.codes.add(code)
        if event == "return" and self.state == "within" and code.co_qualname == self.last:
            self.state = "after"

    def record(self, work: Callable[[], object]) -> None:
        threading.setprofile(self)
        sys.setprofile(self)
        try:
            work()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def check(self, functions: int, files: int) -> None:
        assert self.state == "after", f"never came to {self.last}"
        names = sorted(f"{Path(code.co_filename).name} {code.co_qualname}" for code in self.codes)
        assert len(names) <= functions, "\n".join(names)
        assert len({code.co_filename for code in self.codes}) <= files, "\n".join(names)


@pytest.fixture(params=URLS)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Backburner:
    url = installed(lambda: URLS[request.param](tmp_path))
    return Backburner(url, retry=Retry(max_attempts=1))


def add(a: int, b: int) -> int:
    return a + b


async def aadd(a: int, b: int) -> int:
    return a + b


def test_an_enqueue_calls_at_most_12_functions_in_5_files_before_the_broker(app: Backburner) -> None:
    task = app.task(add)
    task.enqueue(1, 2)
    recorder = Recorder("Task.enqueue", f"{type(app.broker).__name__}.enqueue")
    broker = f"{LIBRARY}/brokers"
    recorder.record(lambda: task.enqueue(1, 2))
    recorder.codes = {code for code in recorder.codes if not code.co_filename.startswith(broker)}
    recorder.state = "after"
    recorder.check(functions=12, files=5)
    app.close()


@pytest.mark.parametrize("function", [add, aadd], ids=["function", "coroutine"])
async def test_an_attempt_calls_at_most_25_functions_in_7_files(app: Backburner, function: Any) -> None:
    task = app.task(function)
    recorder = Recorder("Worker._take", "Worker._ended")
    job = task.enqueue(1, 2)
    threading.setprofile(recorder)
    sys.setprofile(recorder)
    try:
        async with app.worker():
            assert await job.aresult(timeout=30) == 3
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    broker = f"{LIBRARY}/brokers"
    # What goes on at the same time: the duties, and this test's own waiting.
    others = tuple(
        f"{LIBRARY}/{name}" for name in ("worker/maintenance", "worker/embedded", "periodic", "job.py")
    )
    recorder.codes = {c for c in recorder.codes if not c.co_filename.startswith((broker, *others))}
    recorder.check(functions=25, files=7)
    app.close()


@pytest.mark.parametrize("kind", ["function", "coroutine"])
async def test_a_traceback_has_at_most_4_frames_of_the_library_above_the_users_function(
    app: Backburner, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    raised: list[BaseException] = []

    real = outcome.described

    def described(error: BaseException) -> ErrorInfo:
        raised.append(error)
        return real(error)

    def broken() -> None:
        raise ValueError("stop here")

    async def abroken() -> None:
        broken()

    monkeypatch.setattr(outcome, "described", described)
    job = app.task(broken).enqueue() if kind == "function" else app.task(abroken).enqueue()
    async with app.worker():
        with pytest.raises(JobFailed) as failed:
            await job.aresult(timeout=30)
    frames = traceback.extract_tb(raised[0].__traceback__)
    assert 0 < sum(frame.filename.startswith(LIBRARY) for frame in frames) <= 4
    assert str(failed.value.traceback).count(LIBRARY) == 0
    app.close()
