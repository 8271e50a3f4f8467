"""Wake-ups between processes: a pipe for each that waits, and the log where there are no pipes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from backburner.brokers.sqlite import wake
from backburner.brokers.sqlite.broker import SqliteBroker
from backburner.brokers.sqlite.wake import PipeWaiter, Wakes
from tests.brokers.sqlite.conftest import add

WAITER = """
import sys
from backburner.brokers import connect
broker = connect(sys.argv[1])
with broker.waiter(["queue:default"]) as waiter:
    print("listening", flush=True)
    print("woken" if any(waiter.wait(1) for _ in range(30)) else "not woken", flush=True)
"""


@pytest.fixture
def folder(path: Path) -> Path:
    return Path(f"{path}-wake")


def pipes(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def wait_elsewhere(path: Path) -> subprocess.Popen[str]:
    """Another process that listens by now."""
    process = subprocess.Popen(
        [sys.executable, "-c", WAITER, f"sqlite:///{path}"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "listening\n"
    return process


def test_a_waiter_in_another_process_wakes(broker: SqliteBroker, path: Path) -> None:
    with wait_elsewhere(path) as process:
        add(broker)
        assert process.communicate(timeout=40)[0] == "woken\n"


def test_the_pipe_of_a_process_that_was_killed_is_removed(
    broker: SqliteBroker, path: Path, folder: Path
) -> None:
    with wait_elsewhere(path) as process:
        process.kill()
        process.communicate(timeout=30)
    assert len(pipes(folder)) == 1
    add(broker)
    assert pipes(folder) == []


def test_nothing_is_left_of_a_wait(broker: SqliteBroker, folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        with broker.waiter(["queue:default", "stage"]) as waiter:
            assert len(pipes(folder)) == 1
            waiter.wait(0)
    assert pipes(folder) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_error_while_waiting_leaves_nothing_either(broker: SqliteBroker, folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), broker.waiter(["stage"]):
        raise ZeroDivisionError
    assert pipes(folder) == []


def test_no_more_are_woken_than_there_is_work_for(broker: SqliteBroker) -> None:
    topics = ["queue:default"]
    with broker.waiter(topics) as one, broker.waiter(topics) as two, broker.waiter(topics) as three:
        add(broker)
        add(broker)
        assert [waiter.wait(0.01) for waiter in (one, two, three)].count(True) in (1, 2)


@pytest.mark.parametrize("topics", [["queue:a"], ["job:x"], [f"queue:{number}" for number in range(90)]])
def test_who_waits_for_something_else_sleeps_on(path: Path, topics: list[str]) -> None:
    wakes = Wakes(str(path))
    with wakes.listen(["worker:w", "stage"]) as other, wakes.listen(topics) as waiter:
        wakes.send({topics[-1]: 5})
        assert waiter.wait(30)
        assert not other.wait(0.01)


def test_wake_ups_that_nobody_reads_do_not_pile_up(path: Path) -> None:
    wakes = Wakes(str(path))
    with wakes.listen(["stage"]) as waiter:
        for _ in range(70_000):  # more than a pipe holds
            wakes.send({"stage": 1})
        assert waiter.wait(30)


def test_a_waiter_that_ends_just_now_is_no_trouble(
    broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It closed its pipe after the sender had opened it; that once left every other thread waiting."""
    real, waiters = os.open, [broker.waiter(["queue:default"])]
    waiters[0].__enter__()

    def then_the_waiter_ends(name: str, flags: int) -> int:
        pipe = real(name, flags)
        if flags & os.O_WRONLY and waiters:
            waiters.pop().__exit__(None, None, None)
        return pipe

    monkeypatch.setattr(os, "open", then_the_waiter_ends)
    assert add(broker).state == "queued"
    assert waiters == []
    assert add(broker).state == "queued"


@pytest.mark.parametrize("trouble", ["a file", "locked away"])
def test_a_folder_that_cannot_be_used_costs_speed_and_nothing_else(
    broker: SqliteBroker, path: Path, folder: Path, as_somebody: Callable[[], None], trouble: str
) -> None:
    add(broker)
    if trouble == "a file":
        folder.touch()
    else:
        folder.mkdir(mode=0)
        as_somebody()
    with broker.waiter(["queue:default"]) as waiter:
        add(broker)
        assert not waiter.wait(30), "woken by a change of the log, for no reason that it knows"


def test_without_pipes_a_change_of_the_log_ends_the_wait(path: Path) -> None:
    with closing(SqliteBroker(f"sqlite:///{path}")) as broker:
        waiter = PipeWaiter(None, f"{path}-wal", 0.02)
        add(broker)
        assert not waiter.wait(30)
        asyncio.run(then_add(PipeWaiter(None, f"{path}-wal", 0.02), broker))


async def then_add(waiter: PipeWaiter, broker: SqliteBroker) -> None:
    waiting = asyncio.ensure_future(waiter.wait_async(30))
    await asyncio.to_thread(add, broker)
    assert not await waiting


def test_a_wait_without_end_looks_up_now_and_then(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wake-up can be missed: whoever waits then looks again, rather than sleeping for ever."""
    monkeypatch.setattr(wake, "LONGEST", 0.05)
    with Wakes(str(path)).listen(["stage"]) as waiter:
        assert not waiter.wait(None)
        assert not asyncio.run(waiter.wait_async(3600))


def test_a_waiter_on_an_event_loop_leaves_the_loop_as_it_was(path: Path) -> None:
    wakes = Wakes(str(path))

    async def main() -> None:
        with wakes.listen(["stage"]) as waiter:
            waiting = asyncio.ensure_future(waiter.wait_async(30))
            await asyncio.sleep(0)
            wakes.send({"stage": 1})
            assert await waiting
            waiting = asyncio.ensure_future(waiter.wait_async(30))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert not asyncio.get_running_loop().remove_reader(waiter._pipe or 0), "it was removed"

    asyncio.run(main())


def test_a_look_at_the_log_costs_an_idle_event_loop_a_timer_and_no_more(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two idle processes that ran five callbacks at each look took 0.9% of a core, and 0.6 with none."""
    monkeypatch.setattr(wake, "POLL_OF_UPKEEP", 0.002)
    callbacks: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        call_soon = loop.call_soon

        def counted(callback: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.Handle:
            callbacks.append(callback)
            return call_soon(callback, *args, **kwargs)

        with Wakes(str(path)).listen(["stage"]) as waiter:
            looks = iter([*[waiter._seen] * 20, (1, 1)])  # at the twenty-first it has changed
            monkeypatch.setattr(waiter, "_stamp", lambda: next(looks))
            monkeypatch.setattr(loop, "call_soon", counted)
            assert not await waiter.wait_async(60)

    asyncio.run(main())

    assert len(callbacks) < 10, callbacks


@pytest.mark.parametrize(
    ("topics", "seconds"), [(["stage", "worker:w"], 0.5), (["queue:a", "worker:w"], 0.1), (["job:x"], 0.1)]
)
def test_who_does_upkeep_looks_at_the_log_less_often(path: Path, topics: list[str], seconds: float) -> None:
    with Wakes(str(path)).listen(topics) as waiter:
        assert next(waiter._pauses(60)) == seconds


def test_a_change_in_the_last_moment_of_a_wait_ends_the_next_one(broker: SqliteBroker, path: Path) -> None:
    """A job that was stored in a caller's transaction just then waited for seconds."""
    with Wakes(str(path)).listen(["stage"]) as waiter:
        add(broker)
        assert not waiter.wait(0.001)
        assert len(list(islice(waiter._pauses(60), 5))) == 1


def test_a_file_that_is_known_by_two_names_wakes_under_both(
    broker: SqliteBroker, path: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with (
        closing(SqliteBroker(f"sqlite:///{link}")) as other,
        other.waiter(["queue:default"]) as waiter,
    ):
        add(broker)
        assert waiter.wait(30)


def test_many_wait_and_all_are_woken_when_there_is_work_for_all(broker: SqliteBroker) -> None:
    woken = []
    listening = threading.Barrier(9)

    def wait() -> None:
        with broker.waiter(["queue:default"]) as waiter:
            listening.wait(30)
            woken.append(any(waiter.wait(1) for _ in range(30)))

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    listening.wait(30)
    for _ in threads:
        add(broker)
    broker.run(broker.set_queue("default", paused=False))  # work for a thousand
    for thread in threads:
        thread.join(40)
    assert woken == [True] * 8


def test_a_process_with_many_files_hears_wake_ups(path: Path) -> None:
    wakes = Wakes(str(path))
    with ExitStack() as stack:
        for _ in range(1100):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))
        waiter = stack.enter_context(wakes.listen(["queue:default"]))
        wakes.send({"queue:default": 1})
        assert waiter.wait(30)
