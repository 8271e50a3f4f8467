"""Requests of the same time are served together, and each has its own answer."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from backburner.brokers.together import MOST, Together


class Server:
    """Answers with the doubles, while the gate is open; a number below zero spoils the round."""

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []
        self.begun = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self.together = Together(self.serve, "test-together")

    def serve(self, asked: list[int]) -> list[int]:
        self.rounds.append(asked)
        self.begun.release()
        self.gate.wait(30)
        if min(asked) < 0:
            raise ValueError("spoilt")
        return [2 * each for each in asked]

    def waiting(self) -> int:
        return len(self.together._line)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.gate.set()
    server.together.close()


def until_waiting(server: Server, count: int) -> None:
    while server.waiting() < count:
        threading.Event().wait(0.001)


def test_who_asks_alone_is_served_alone_and_by_its_own_thread(server: Server) -> None:
    threads = threading.active_count()
    assert [server.together.ask(1), server.together.ask(2)] == [2, 4]
    assert server.rounds == [[1], [2]]
    assert threading.active_count() == threads


def test_who_asks_meanwhile_is_served_with_the_others(server: Server) -> None:
    server.gate.clear()
    with ThreadPoolExecutor(20) as pool:
        first = pool.submit(server.together.ask, 100)
        server.begun.acquire()
        others = [pool.submit(server.together.ask, number) for number in range(15)]
        until_waiting(server, 15)
        server.gate.set()
        assert [first.result(30), *(each.result(30) for each in others)] == [200, *range(0, 30, 2)]
    assert server.rounds[0] == [100]
    assert [sorted(each) for each in server.rounds[1:]] == [list(range(15))]


def test_coroutines_are_served_together(server: Server) -> None:
    async def ask() -> list[int | None]:
        server.gate.clear()
        first = server.together.aask(100)
        await asyncio.to_thread(server.begun.acquire)
        others = [server.together.aask(number) for number in range(MOST + 10)]
        gone = others[0]
        gone.cancel()
        server.gate.set()
        return [await first, *[await each for each in others[1:]]]

    assert asyncio.run(ask()) == [200, *range(2, 2 * MOST + 20, 2)]
    assert [len(each) for each in server.rounds] == [1, MOST, 10]


def test_a_round_that_goes_wrong_leaves_each_without_an_answer(server: Server) -> None:
    async def ask() -> list[int | None]:
        server.gate.clear()
        first = server.together.aask(100)
        await asyncio.to_thread(server.begun.acquire)
        others = [server.together.aask(number) for number in (1, 2, -1)]
        server.gate.set()
        return [await first, *[await each for each in others]]

    assert server.together.ask(-1) is None
    server.begun.acquire()
    assert asyncio.run(ask()) == [200, None, None, None]
    assert server.together.ask(3) == 6


def test_one_that_was_interrupted_in_the_line_is_not_served(server: Server) -> None:
    def interrupt() -> None:
        until_waiting(server, 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    async def start_the_thread() -> None:  # Python takes one that is interrupted in its start for alive
        await server.together.aask(50)

    asyncio.run(start_the_thread())
    server.begun.acquire()
    old = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    server.gate.clear()
    try:
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(server.together.ask, 100)
            server.begun.acquire()
            interrupting = pool.submit(interrupt)
            with pytest.raises(KeyboardInterrupt):
                server.together.ask(1)
            interrupting.result(30)
            server.gate.set()
            assert first.result(30) == 200
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert server.together.ask(3) == 6
    assert server.rounds == [[50], [100], [3]]


def test_who_is_interrupted_while_the_thread_is_started_holds_nobody_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def interrupted(_: threading.Thread) -> None:
        monkeypatch.setattr(threading.Thread, "start", start)
        raise KeyboardInterrupt

    server.gate.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(server.together.ask, 100)
        server.begun.acquire()
        monkeypatch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            server.together.ask(1)
        second = pool.submit(server.together.ask, 2)
        until_waiting(server, 2)
        server.gate.set()
        assert [first.result(30), second.result(10)] == [200, 4]
