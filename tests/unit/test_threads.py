from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from contextlib import contextmanager, suppress
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from backburner.worker.threads import NotStarted, Threads, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

LONG = 30.0  # seconds: more than any of these waits takes
Outcome = tuple[Any, BaseException | None]


class Interrupt(BaseException):
    pass


@contextmanager
def pool(size: int) -> Iterator[Threads]:
    threads = Threads(size, asyncio.get_running_loop())
    yield threads
    assert threads.close(LONG) == []


def start(threads: Threads, call: Callable[[], object]) -> tuple[Ticket, asyncio.Future[Outcome]]:
    future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    return threads.submit(call, lambda value, error: future.set_result((value, error))), future


async def run(threads: Threads, call: Callable[[], object]) -> Outcome:
    return await start(threads, call)[1]


class Signal(asyncio.Event):
    """Set in a thread, awaited on the loop."""

    def __init__(self) -> None:
        super().__init__()
        self._home = asyncio.get_running_loop()

    def set(self) -> None:
        self._home.call_soon_threadsafe(super().set)


def spin(begun: Signal) -> None:
    begun.set()
    while True:
        pass


async def test_the_value_or_the_error_arrives_on_the_loops_thread() -> None:
    with pool(2) as threads:
        assert await run(threads, lambda: 42) == (42, None)
        value, error = await run(threads, lambda: 1 / 0)
        assert value is None
        assert isinstance(error, ZeroDivisionError)
        arrived: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        threads.submit(threading.get_ident, lambda *_: arrived.set_result(threading.get_ident()))
        assert await arrived == threading.get_ident()


async def test_another_thread_starts_only_while_all_are_busy() -> None:
    with pool(3) as threads:
        idents = {(await run(threads, threading.get_ident))[0] for _ in range(20)}
        assert len(idents) == 1
        together = threading.Barrier(3)
        calls = [start(threads, lambda: (together.wait(LONG), threading.get_ident()))[1] for _ in range(9)]
        outcomes = await asyncio.gather(*calls)
        assert len({value[1] for value, _ in outcomes}) == 3


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, Interrupt, MemoryError])
async def test_no_exception_ends_a_thread(error: type[BaseException]) -> None:
    def fail() -> None:
        raise error

    with pool(1) as threads:
        before, _ = await run(threads, threading.get_ident)
        _, raised = await run(threads, fail)
        assert type(raised) is error
        assert await run(threads, threading.get_ident) == (before, None)


async def test_an_interrupt_ends_a_running_call_and_nothing_else() -> None:
    with pool(1) as threads:
        first, outcome = start(threads, partial(spin, begun := Signal()))
        second, later = start(threads, lambda: "later")
        await begun.wait()
        assert not second.interrupt(Interrupt)
        assert first.interrupt(Interrupt)
        value, error = await outcome
        assert (value, type(error)) == (None, Interrupt)
        assert await later == ("later", None)
        assert not first.interrupt(Interrupt)
        assert not first.running


async def test_a_call_that_caught_an_interrupt_can_be_interrupted_again() -> None:
    def stubborn() -> str:
        for begun in begins:
            with suppress(Interrupt):
                spin(begun)
        return "gave in"

    begins = [Signal(), Signal()]
    with pool(1) as threads:
        ticket, outcome = start(threads, stubborn)
        for begun in begins:
            await begun.wait()
            assert ticket.interrupt(Interrupt)
        assert await outcome == ("gave in", None)


async def test_an_interrupt_between_the_end_of_a_call_and_the_next_one_harms_neither() -> None:
    """Stops the thread at each instruction of the pool's own code after the call, and interrupts it there."""
    own = {Ticket.run.__code__, Threads._serve.__code__}
    loop = asyncio.get_running_loop()

    async def interrupted_at(instruction: int) -> tuple[bool, object] | None:
        """Return what interrupt() said and the call's value, or None if the thread did not come that far."""
        said: list[bool] = []
        passed = 0

        def interrupt(answered: threading.Event) -> None:
            said.append(ticket.interrupt(Interrupt))
            answered.set()

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal passed
            passed += event == "opcode" and frame.f_code in own
            if passed == instruction and not said:
                loop.call_soon_threadsafe(interrupt, answered := threading.Event())
                answered.wait(LONG)
            return trace

        def call() -> str:
            # Twice: Python 3.12 heeds the flags set before settrace(), 3.13.0 those that change after it.
            for _ in range(2):
                for frame in (sys._getframe(1), sys._getframe(2)):
                    frame.f_trace, frame.f_trace_opcodes = trace, False
                    frame.f_trace_opcodes = True
                sys.settrace(trace)
            return "done"

        with pool(1) as threads:
            ticket, outcome = start(threads, call)
            value, error = await outcome
            assert (value, error) == ("done", None) or (value is None and type(error) is Interrupt)
            assert await run(threads, partial(sys.settrace, None)) == (None, None)
            assert await run(threads, lambda: "next") == ("next", None)
            assert len(threads._threads) == 1
        return (said[0], value) if said else None

    answers: list[tuple[bool, object]] = []
    while (answer := await interrupted_at(len(answers) + 1)) is not None:
        answers.append(answer)
    sent = sum(said for said, _ in answers)
    assert 0 < sent < len(answers)
    assert not any(said for said, _ in answers[sent:])  # once the gate is closed it stays so
    assert answers[sent - 1] == (True, "done")  # a value that is known is not lost to a late interrupt


async def test_interrupts_at_random_moments_hit_their_own_call_or_nothing() -> None:
    def work(number: int, rounds: int) -> int:
        for _ in range(rounds):
            pass
        if number % 7 == 0:
            raise LookupError(number)
        return number

    random = Random(7)
    errors = [type(f"Interrupt{number}", (BaseException,), {}) for number in range(1500)]
    sent: set[int] = set()
    calls: list[tuple[Ticket, asyncio.Future[Outcome]]] = []
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # seconds: a thread is stopped wherever it can be
    gc.disable()  # Hypothesis has a callback there, in which an interrupt would be unraisable
    try:
        with pool(4) as threads:
            for number in range(len(errors)):
                calls.append(start(threads, partial(work, number, random.randrange(10_000))))
                while len(busy := [n for n, (_, outcome) in enumerate(calls) if not outcome.done()]) > 4:
                    chosen = [other for other in busy if random.random() < 0.3]
                    sent |= {other for other in chosen if calls[other][0].interrupt(errors[other])}
                    await asyncio.sleep(0)
            outcomes = await asyncio.gather(*(outcome for _, outcome in calls))
            assert all(thread.is_alive() for thread in threads._threads)
    finally:
        gc.enable()
        sys.setswitchinterval(usual)

    hit = {number for number, (_, error) in enumerate(outcomes) if type(error) is errors[number]}
    assert hit
    assert hit <= sent
    for number in set(range(len(errors))) - hit:
        value, error = outcomes[number]
        if number % 7:
            assert (value, error) == (number, None)
        else:
            assert isinstance(error, LookupError)


async def test_an_idle_thread_keeps_nothing_of_its_last_job() -> None:
    class Large:
        def __init__(self) -> None:
            alive.append(weakref.ref(self))

    class LargeError(Large, Exception):
        pass

    def take(_: Large) -> Large:
        return Large()

    def fail(_: Large) -> None:
        raise LargeError

    alive: list[weakref.ref[Large]] = []
    gc.disable()  # so that a reference cycle shows
    try:
        with pool(1) as threads:
            for call in (take, fail):
                await run(threads, partial(call, Large()))
                await asyncio.sleep(0)  # the loop itself keeps what it delivers until its next round
                assert [reference() for reference in alive] == [None, None]
                alive.clear()
    finally:
        gc.enable()


async def test_closing_returns_what_still_runs_and_says_what_never_began() -> None:
    def hang() -> None:
        begun.set()
        release.wait(LONG)

    begun, release = Signal(), threading.Event()
    threads = Threads(1, asyncio.get_running_loop())
    ticket, outcome = start(threads, hang)
    await begun.wait()
    never, waiting = start(threads, lambda: None)

    assert threads.close(0) == [ticket]
    assert ticket.stack().splitlines()[0].endswith("in hang")
    assert never.stack() == ""
    assert isinstance((await waiting)[1], NotStarted)
    with pytest.raises(RuntimeError, match="closed"):
        threads.submit(hang, print)

    release.set()
    assert await outcome == (None, None)
    assert ticket.stack() == ""
    assert threads.close(LONG) == []
    assert not any(thread.is_alive() for thread in threads._threads)


async def test_a_failing_callback_is_reported_and_costs_no_other_result() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    with pool(1) as threads:
        threads.submit(lambda: 0, lambda value, _: 1 / value)
        assert await run(threads, lambda: 42) == (42, None)
    assert [type(context["exception"]) for context in reported] == [ZeroDivisionError]


async def test_a_result_that_comes_in_during_a_delivery_is_delivered_too() -> None:
    def hold_the_loop(*_: object) -> None:
        assert third_begun.wait(LONG)

    def third() -> None:
        third_begun.set()
        release.wait(LONG)

    third_begun, release = threading.Event(), threading.Event()
    with pool(1) as threads:
        threads.submit(lambda: 1, hold_the_loop)
        _, second = start(threads, lambda: 2)
        _, last = start(threads, third)
        assert await second == (2, None)
        assert not last.done()
        release.set()
        await last


def test_many_results_wake_the_loop_once() -> None:
    class CountingLoop(asyncio.SelectorEventLoop):
        wakeups = 0

        def call_soon_threadsafe(self, *arguments: Any) -> asyncio.Handle:  # type: ignore[override]
            self.wakeups += 1
            return super().call_soon_threadsafe(*arguments)

    loop = CountingLoop()
    threads = Threads(1, loop)
    results: list[int | None] = []
    last = threading.Event()
    for number in range(100):
        threads.submit(lambda number=number: number, lambda value, _: results.append(value))
    threads.submit(last.set, lambda *_: None)
    last.wait(LONG)
    assert threads.close(LONG) == []
    assert results == list(range(100))
    assert loop.wakeups == 1
    loop.close()


def test_a_call_may_outlive_the_loop() -> None:
    async def leave_one_running() -> threading.Thread:
        def hang() -> None:
            begun.set()
            release.wait(LONG)

        begun = Signal()
        threads = Threads(1, asyncio.get_running_loop())
        ticket, _ = start(threads, hang)
        await begun.wait()
        assert threads.close(0) == [ticket]
        return threads._threads[0]

    release = threading.Event()
    thread = asyncio.run(leave_one_running())
    release.set()
    thread.join(LONG)
    assert not thread.is_alive()
