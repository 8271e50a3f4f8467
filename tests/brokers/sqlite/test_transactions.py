"""One operation is one transaction with one sync, and operations that meet share one."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backburner import lifecycle
from backburner.brokers.base import Beat, Bound, Claim, Exchange, Operation
from backburner.brokers.sqlite.broker import SqliteBroker
from backburner.brokers.sqlite.steps import Begin, Do
from backburner.errors import BrokerError, QueueFull
from backburner.periodic import stored, tick
from backburner.schedule import Schedule
from tests.brokers.sqlite.conftest import add, connection, ids, new_job, take, traced


def exchange(broker: SqliteBroker) -> Operation[Any]:
    jobs = take(broker, 5)
    settlements = [lifecycle.succeeded(job, None, broker.now(), keep=60) for job in jobs]
    return broker.exchange(settlements, Claim(worker="w", queues=("default",), limit=5))


# What makes an operation, and the statements that SQLite performs between its BEGIN and its COMMIT.
OPERATIONS: dict[str, tuple[Callable[[SqliteBroker], Operation[Any]], list[str]]] = {
    "enqueue": (lambda b: b.enqueue([new_job()], {}), ["INSERT"]),
    "enqueue a thousand": (
        lambda b: b.enqueue([new_job() for _ in range(1000)], {}),
        ["SAVEPOINT", *["INSERT"] * 1000, "RELEASE"],
    ),
    "exchange": (exchange, ["SAVEPOINT", "UPDATE", "RELEASE", "INSERT", "SELECT", "UPDATE", "SELECT"]),
    "heartbeat": (lambda b: b.heartbeat([Beat(worker="w", lease=9)]), ["UPDATE", "SELECT"]),
    "rescue": (lambda b: b.rescue(10, 3), ["DELETE", "SELECT"]),
    "note": (lambda b: b.note(new_job(), b"1", None), ["UPDATE"]),
    "cancel": (lambda b: b.cancel(["x"], "enough", 60), ["UPDATE", "UPDATE"]),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_one_transaction(broker: SqliteBroker, name: str) -> None:
    for _ in range(10):
        add(broker)
    operation = OPERATIONS[name][0](broker)
    with traced(broker) as statements:
        broker.run(operation)
    assert statements == ["BEGIN", *OPERATIONS[name][1], "COMMIT"]


@pytest.mark.parametrize(
    "look",
    [
        lambda b: b.get(["x"]),
        lambda b: b.queues(),
        lambda b: b.stage(10),
        lambda b: b.prune(10, 10),
        lambda b: b.schedules(),
    ],
)
def test_a_look_takes_no_lock(broker: SqliteBroker, look: Callable[[SqliteBroker], Operation[Any]]) -> None:
    add(broker)
    with traced(broker) as statements:
        broker.run(look(broker))
    assert set(statements) == {"SELECT"}


def test_every_commit_is_synced(broker: SqliteBroker) -> None:
    own = connection(broker)
    assert own.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert own.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


class Interrupt(BaseException):
    """Something that is thrown into a thread, as Ctrl-C is."""


def stalled(entered: threading.Event, leave: threading.Event) -> Operation[None]:
    """An operation that takes its time."""
    yield Begin()
    entered.set()
    assert leave.wait(30)


class Crowd:
    """Operations that arrive while another is performed, so that they meet in one group."""

    def __init__(self, broker: SqliteBroker) -> None:
        self.broker = broker

    async def __call__(self, *operations: Operation[Any]) -> list[Any]:
        entered, leave = threading.Event(), threading.Event()
        first = asyncio.ensure_future(self.broker.arun(stalled(entered, leave)))
        await asyncio.to_thread(entered.wait, 30)
        calls = [asyncio.ensure_future(self.broker.arun(each)) for each in operations]
        await asyncio.sleep(0)
        leave.set()
        await first
        return await asyncio.gather(*calls, return_exceptions=True)


@pytest.fixture
def crowd(broker: SqliteBroker) -> Crowd:
    return Crowd(broker)


async def test_operations_that_meet_share_a_transaction(broker: SqliteBroker, crowd: Crowd) -> None:
    with traced(broker) as statements:
        stored = await crowd(*[broker.enqueue([new_job()], {}) for _ in range(50)])
    assert ids(broker) == {jobs[0].id for jobs in stored}
    assert statements.count("INSERT") == 50
    assert statements.count("COMMIT") == 2, "one for the operation that they waited for, one for all of them"


async def test_a_group_is_not_longer_than_five_hundred(broker: SqliteBroker, crowd: Crowd) -> None:
    with traced(broker) as statements:
        await crowd(*[broker.enqueue([new_job()], {}) for _ in range(1001)])
    assert statements.count("COMMIT") == 4
    assert len(ids(broker)) == 1001


def test_threads_that_enqueue_at_once_share_transactions(broker: SqliteBroker) -> None:
    def produce(_: int) -> None:
        for _ in range(50):
            add(broker)

    with traced(broker) as statements, ThreadPoolExecutor(16) as threads:
        list(threads.map(produce, range(16)))
    assert len(ids(broker)) == 800
    assert statements.count("COMMIT") < 800


def test_more_threads_than_a_group_takes_all_get_their_answer(broker: SqliteBroker) -> None:
    entered, leave, started = threading.Event(), threading.Event(), threading.Barrier(601)

    def enqueue(_: int) -> str:
        started.wait(30)
        return add(broker).id

    with ThreadPoolExecutor(601) as threads:
        first = threads.submit(broker.run, stalled(entered, leave))
        assert entered.wait(30)
        answers = threads.map(enqueue, range(600))
        started.wait(30)
        leave.set()
        assert len(set(answers)) == 600
        first.result()


async def test_an_operation_that_fails_takes_nothing_with_it(broker: SqliteBroker, crowd: Crowd) -> None:
    full = {"default": Bound(queue="default", max_length=1)}
    good = [new_job(queue="other") for _ in range(3)]
    found = await crowd(
        broker.enqueue([good[0]], {}),
        broker.enqueue([new_job(), new_job()], full),
        broker.enqueue([good[1]], {}),
        broker.enqueue([new_job(priority="high")], {}),
        broker.enqueue([new_job(task=None)], {}),
        broker.enqueue([new_job(payload=object())], {}),
        broker.enqueue([new_job(priority=2**70)], {}),
        broker.enqueue([good[2]], {}),
    )
    assert isinstance(found[1], QueueFull)
    assert [type(found[i]) for i in (3, 4, 5)] == [BrokerError] * 3
    assert isinstance(found[6], OverflowError)
    assert ids(broker) == {job.id for job in good}


async def test_an_operation_that_fails_first_in_its_group_takes_nothing_with_it(
    broker: SqliteBroker, crowd: Crowd
) -> None:
    found = await crowd(broker.enqueue([new_job(task=None)], {}), broker.enqueue([new_job(id="good")], {}))
    assert isinstance(found[0], BrokerError)
    assert ids(broker) == {"good"}


def failing(error: BaseException) -> Operation[None]:
    yield Begin()
    raise error


async def test_an_interrupted_thread_leaves_no_other_waiting(broker: SqliteBroker) -> None:
    entered, leave = threading.Event(), threading.Event()

    def interrupted() -> Operation[None]:
        yield from stalled(entered, leave)
        raise Interrupt

    with ThreadPoolExecutor(1) as thread:
        leader = thread.submit(lambda: broker.run(interrupted()))
        await asyncio.to_thread(entered.wait, 30)
        waiting = asyncio.ensure_future(broker.arun(broker.enqueue([new_job()], {})))
        await asyncio.sleep(0)
        leave.set()
        assert [job.state for job in await waiting] == ["queued"]
        with pytest.raises(Interrupt):
            leader.result(30)


async def test_those_in_an_interrupted_group_are_told_and_nothing_is_stored(
    broker: SqliteBroker, crowd: Crowd
) -> None:
    entered, leave = threading.Event(), threading.Event()
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(broker.run, stalled(entered, leave))
        assert entered.wait(30)
        line = broker._database._line
        calls = []
        for operation in (broker.enqueue([new_job()], {}), failing(Interrupt())):
            calls.append(threads.submit(lambda each=operation: broker.run(each)))  # type: ignore[misc]
            while len(line) < len(calls) + 1:
                await asyncio.sleep(0)
        leave.set()
        errors = [type(call.exception(30)) for call in calls]
    first.result()
    # One of the two performed the group, and was hit by the interrupt itself.
    assert sorted(error.__name__ for error in errors) == ["BrokerUnavailable", "Interrupt"]
    assert ids(broker) == set()
    assert add(broker).state == "queued"


class InterruptedAfterCommit(sqlite3.Connection):
    """An interrupt most likely strikes here: the commit, with its sync, is what takes the time."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        cursor = super().execute(sql, parameters)
        if sql == "COMMIT" and not threading.current_thread().name.startswith("backburner-sqlite"):
            raise Interrupt
        return cursor


async def test_what_was_committed_when_the_interrupt_struck_is_answered_as_such(
    broker: SqliteBroker, path: Path
) -> None:
    connection(broker).close()
    broker._database._connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, factory=InterruptedAfterCommit
    )
    entered, leave = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        leader = threads.submit(broker.run, stalled(entered, leave))
        assert entered.wait(30)
        other = broker._database._line
        job = new_job()
        waiting = asyncio.ensure_future(broker.arun(broker.enqueue([job], {})))
        while len(other) < 2:
            await asyncio.sleep(0)
        leave.set()
        assert isinstance(leader.exception(30), Interrupt)
    assert [each.id for each in await waiting] == [job.id]
    broker.close()
    assert ids(broker) == {job.id}


async def test_a_call_that_is_cancelled_before_its_turn_is_not_performed(broker: SqliteBroker) -> None:
    entered, leave = threading.Event(), threading.Event()
    first = asyncio.ensure_future(broker.arun(stalled(entered, leave)))
    await asyncio.to_thread(entered.wait, 30)
    call = asyncio.ensure_future(broker.arun(broker.enqueue([new_job()], {})))
    call.cancel()
    await asyncio.sleep(0)  # one turn of the loop, in which the thread's own future learns of it
    assert call.cancelled()
    leave.set()
    await first
    assert ids(broker) == set()


def test_statements_of_an_operation_that_was_given_up_are_closed(broker: SqliteBroker) -> None:
    closed = []

    def looking() -> Operation[None]:
        try:
            yield Do("get_one", ("x",))
            yield Do("no such statement")
        finally:
            closed.append(True)

    with pytest.raises(KeyError):
        broker.run(looking())
    assert closed == [True]
    assert ids(broker) == set()


async def test_a_broker_may_be_closed_while_it_is_used(broker: SqliteBroker) -> None:
    calls = [asyncio.ensure_future(broker.arun(broker.enqueue([new_job()], {}))) for _ in range(100)]
    await asyncio.sleep(0)
    await asyncio.to_thread(broker.close)
    calls += [asyncio.ensure_future(broker.arun(broker.enqueue([new_job()], {}))) for _ in range(100)]
    await asyncio.gather(*calls)
    assert len(ids(broker)) == 200


def test_threads_may_use_a_broker_that_another_closes(broker: SqliteBroker) -> None:
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(add, broker) for _ in range(200)]
        for _ in range(20):
            broker.close()
        stored = {call.result(30).id for call in calls}
    assert ids(broker) == stored


def test_an_operation_between_two_looks_of_another_breaks_neither(broker: SqliteBroker, path: Path) -> None:
    """A queue that appears between the statements of `queues` was once a KeyError."""
    add(broker)
    other = SqliteBroker(f"sqlite:///{path}", broker.clock)
    found = broker.run(interrupted(broker.queues(), 2, lambda: add(other, queue="new")))
    assert [info.name for info in found] == ["default", "new"]
    other.close()


def interrupted(operation: Operation[Any], steps: int, meanwhile: Callable[[], object]) -> Operation[Any]:
    """`operation`, with something else happening after its first few statements."""
    reply: Any = None
    try:
        while True:
            reply = yield operation.send(reply)
            steps -= 1
            if steps == 0:
                meanwhile()
    except StopIteration as stop:
        return stop.value


def test_two_who_trim_the_dead_letters_at_once_trim_no_more_than_the_excess(
    broker: SqliteBroker, path: Path
) -> None:
    for _ in range(6):
        add(broker)
    for job in take(broker, 6):
        broker.run(broker.exchange([lifecycle.dead(job, lifecycle.ErrorInfo(None, ""), "x", 1.0)], None))
    other = SqliteBroker(f"sqlite:///{path}", broker.clock)
    meanwhile = lambda: other.run(other.prune(100, 4))  # noqa: E731 - a moment has a name
    pruned = broker.run(interrupted(broker.prune(100, 4), 2, meanwhile))
    assert pruned.trimmed == {}
    assert len(ids(broker)) == 4
    other.close()


def test_a_tick_that_another_overtook_enqueues_nothing(broker: SqliteBroker, path: Path) -> None:
    schedule = Schedule(name="minutely", task="t", every=60.0)
    broker.run(broker.save_schedule(stored(schedule, broker.now(), declared=True)))
    broker.clock.advance(60)  # type: ignore[attr-defined]
    other = SqliteBroker(f"sqlite:///{path}", broker.clock)

    def meanwhile() -> None:
        """Another worker ticks, and the job is over and forgotten before this one goes on."""
        [job] = other.run(tick(other)).jobs
        other.run(other.delete([job.id]))

    assert broker.run(interrupted(tick(broker), 1, meanwhile)).jobs == []
    assert ids(broker) == set()
    other.close()


def test_the_row_count_of_many_settlements_is_that_of_all(broker: SqliteBroker) -> None:
    """`executemany` and `UPDATE … FROM` count every row; a version of SQLite that did not would lose jobs."""
    own: sqlite3.Connection = connection(broker)
    own.execute("CREATE TEMP TABLE t (x UNIQUE)")
    assert (
        own.executemany("INSERT INTO t VALUES (?) ON CONFLICT DO NOTHING", [(1,), (1,), (2,)]).rowcount == 2
    )
    cursor = own.execute("UPDATE t SET x = x + 10 FROM json_each('[1,2,3]') AS new WHERE x = new.value")
    assert cursor.rowcount == 2


def test_a_claim_comes_back_as_few_rows_however_many_jobs_it_has(broker: SqliteBroker) -> None:
    """Between two rows Python's global lock is given up and taken again, while jobs run."""
    rows = []
    broker.run(broker.enqueue([new_job() for _ in range(300)], {}))
    broker.run(broker.heartbeat([Beat(worker="w", lease=60, new=True)]))
    operation = broker.exchange([], Claim(worker="w", queues=("default",), limit=300))

    def watched() -> Operation[Exchange]:
        reply: Any = None
        try:
            while True:
                reply = yield operation.send(reply)
                rows.append(len(reply) if isinstance(reply, list) else 0)
        except StopIteration as stop:
            answer: Exchange = stop.value
            return answer

    assert len(broker.run(watched()).jobs) == 300
    assert sum(rows) == 2
