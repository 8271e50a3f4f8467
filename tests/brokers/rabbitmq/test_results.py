"""RabbitMQ with a results store: what each of the two has, and what is left when either loses it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pika
import pytest

from backburner import Backburner, Retry, lifecycle
from backburner.brokers.base import Bound
from backburner.brokers.rabbitmq import copies
from backburner.brokers.rabbitmq.broker import RabbitBroker
from backburner.errors import BrokerUnavailable, LeaseLost
from backburner.lifecycle import State
from backburner.testing.conformance.kit import Store, ids, new_job
from tests.brokers.rabbitmq.beside import Beside, wait_until
from tests.servers.fixtures import installed
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitServer
from tests.stores import URLS


@pytest.fixture(params=["sqlite"])
def beside(
    request: pytest.FixtureRequest, rabbit_server: RabbitServer, rabbit_url: str, tmp_path: Path
) -> Iterator[Beside]:
    """A test that is about what the stores do differently names the others, too."""
    beside = Beside(rabbit_server, rabbit_url, installed(lambda: URLS[request.param](tmp_path)))
    yield beside
    beside.close()


every_store = pytest.mark.parametrize("beside", URLS, indirect=True)


@pytest.fixture
def process(beside: Beside) -> Store:
    return beside.process()


@pytest.fixture
def proxy(rabbit_server: RabbitServer) -> Iterator[Proxy]:
    """RabbitMQ as processes reach it that can be cut off from it."""
    with Proxy(rabbit_server.port) as proxy:
        yield proxy


# What is where --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["quorum", "classic"])
def test_every_job_that_waits_has_a_copy_until_it_was_claimed(beside: Beside, kind: str) -> None:
    process = beside.process(beside.url.replace("classic", kind))
    jobs = process.enqueue(*[new_job(priority=priority) for priority in (-100, 0, 100)])
    wait_until(lambda: beside.copies() == 3, "three copies")
    assert ids(process.claim(2)) == [jobs[2].id, jobs[1].id]
    beside.use_up(process, left=1)
    assert ids(process.claim(2)) == [jobs[0].id]
    beside.use_up(process)


def test_nothing_is_left_in_rabbitmq_after_all_kinds_of_ends(beside: Beside, process: Store) -> None:
    other = beside.process()
    cancelled, deleted = process.enqueue(new_job(), new_job())
    process.do(process.broker.cancel([cancelled.id, deleted.id], "enough", 60))
    process.do(process.broker.delete([deleted.id]))
    for _ in range(2):
        process.enqueue(new_job(), bound=Bound(queue="default", max_length=1, on_full="drop_oldest"))
    for verb in ("succeed", "retry", "snooze", "release", "crash", "die", "poison", "cancel"):
        other.add(queue=verb)
        [job] = process.claim(queues=(verb,))
        process.end(job, verb)
    process.do(process.broker.revive([cancelled.id]))
    parent = process.add(queue="parents")
    [parent] = process.claim(queues=("parents",))
    child = new_job(delay=0.2)
    process.settle(lifecycle.succeeded(parent, None, process.clock(), keep=60, follow_ups=(child,)))
    waiting = {info.name: info.counts for info in process.do(process.broker.queues())}
    left = sum(
        count
        for counts in waiting.values()
        for state, count in counts.items()
        if State(state) in lifecycle.WAITING
    )
    assert left == 7  # those of retry, snooze, release and crash; revived, the newest of its queue, the child
    wait_until(lambda: beside.copies() >= left, "a copy of each that waits")
    for job in process.do(process.broker.get([child.id])):
        process.do(process.broker.cancel([job.id], "enough", 60))
    queues = tuple(waiting)
    for job in [*process.claim(20, queues=queues), *other.claim(20, queues=queues)]:
        process.end(job, "succeed")
    later = [
        info.name
        for info in process.do(process.broker.queues())
        if info.counts.keys() & {"retrying", "scheduled"}
    ]
    assert sorted(later) == ["retry", "snooze"]
    beside.use_up(process, left=2)


def test_a_job_that_goes_back_again_and_again_has_one_copy(beside: Beside, process: Store) -> None:
    process.add()
    for _ in range(20):
        process.end(process.take(), "release")
        process.stage()
    beside.use_up(process, left=1)


def test_jobs_that_wait_at_the_front_hide_nothing(
    beside: Beside, process: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that nobody claims filled the window, and what was behind them stayed for ever."""
    monkeypatch.setattr(copies, "WINDOW", 5)
    process.enqueue(*[new_job(priority=1) for _ in range(20)])
    process.enqueue(*[new_job(priority=2) for _ in range(20)])
    assert {job.priority for job in process.claim(20)} == {2}
    beside.use_up(process, left=20)


def test_what_nobody_understands_goes_to_the_dead_letters(beside: Beside, process: Store) -> None:
    process.add()
    process.take()
    connection = pika.BlockingConnection(pika.URLParameters(beside.url.partition("?")[0]))
    channel = connection.channel()
    channel.basic_publish("", "backburner.normal.default", b"who is this for?")
    beside.use_up(process, left=1)
    _, properties, body = channel.basic_get("backburner.dead.default")
    connection.close()
    assert (body, "no job of Backburner" in properties.headers["reason"]) == (b"who is this for?", True)


def test_in_a_transaction_of_the_caller_a_job_is_stored_and_runs_without_a_copy(
    beside: Beside, process: Store
) -> None:
    process.register("w1")
    with sqlite3.connect(beside.results.removeprefix("sqlite:///")) as own:
        [job] = process.broker.run_on(own, process.broker.enqueue([new_job()], {}))
        own.rollback()
        assert process.claim() == []
        [job] = process.broker.run_on(own, process.broker.enqueue([new_job()], {}))
    own.close()
    assert beside.copies() == 0
    assert process.take().id == job.id


def test_a_job_is_completed_in_a_transaction_of_the_caller_once(beside: Beside, process: Store) -> None:
    process.add()
    job = process.take()
    done = lifecycle.succeeded(job, b"1", process.clock(), keep=60)
    with sqlite3.connect(beside.results.removeprefix("sqlite:///")) as own:
        process.broker.run_on(own, process.broker.complete(done))
    with pytest.raises(LeaseLost):
        process.broker.run_on(own, process.broker.complete(done))
    own.close()
    assert process.state(job) is State.SUCCEEDED
    beside.use_up(process)


# The store is lost, or new --------------------------------------------------------------------------


@every_store
def test_a_store_that_was_emptied_is_filled_again_and_each_job_runs_once(
    beside: Beside, process: Store
) -> None:
    """Two workers, and not in the order of arrival: the copies that are left are of those that wait."""
    other = beside.process()
    process.enqueue(*[new_job(priority=number % 3, payload=b"[%d]" % number) for number in range(60)])
    ran = [*process.claim(10), *other.claim(10, worker="w2"), *process.claim(10)]
    process.settle(*[lifecycle.succeeded(job, None, process.clock(), keep=60) for job in ran[:10] + ran[20:]])
    other.settle(*[lifecycle.succeeded(job, None, process.clock(), keep=60) for job in ran[10:20]])
    beside.use_up(process, other, left=30)
    beside.empty()

    def filled() -> bool:
        process.stage()
        other.stage()
        return sum(info.counts.get("queued", 0) for info in process.do(process.broker.queues())) == 30

    wait_until(filled, "all that waited is there")
    process.register("w1")
    other.register("w2")
    ran += [*process.claim(15), *other.claim(50, worker="w2")]
    assert sorted(job.payload for job in ran) == sorted(b"[%d]" % number for number in range(60))
    assert process.claim(1) == []
    beside.use_up(process, other)


def test_what_waited_for_its_time_is_restored_when_it_comes(beside: Beside, process: Store) -> None:
    job = process.add(delay=2)
    process.register("w1")
    process.claim()
    beside.empty()
    assert not process.exists(job)
    wait_until(lambda: process.stage() + process.exists(job) > 0, "the job is there again")
    wait_until(lambda: process.stage() + (process.state(job) is State.QUEUED) > 0, "it is due")


def test_results_are_added_to_what_waits_in_rabbitmq_alone(beside: Beside) -> None:
    alone = RabbitBroker(beside.url)
    jobs = [new_job(), new_job(priority=9), new_job(delay=1.0)]
    alone.run(alone.enqueue(jobs, {}))
    alone.close()
    process = beside.process()
    ran = process.claim(10)

    def all_ran() -> bool:
        process.stage()
        ran.extend(process.claim(10))
        return len(ran) == 3

    wait_until(all_ran, "all three")
    assert sorted(ids(ran)) == sorted(ids(jobs))
    beside.use_up(process)


def test_a_store_from_a_backup_that_was_given_a_new_identity_is_filled_up(
    beside: Beside, process: Store
) -> None:
    """The backup is older than one of the jobs."""
    jobs = process.enqueue(new_job(), new_job())
    with closing(sqlite3.connect(beside.results.removeprefix("sqlite:///"))) as file, file:
        file.execute("DELETE FROM backburner_jobs WHERE id = ?", [jobs[1].id])
        file.execute("DELETE FROM backburner_identity")
    process.register("w1")
    process.claim(0)
    wait_until(lambda: process.stage() + process.exists(jobs[1]) > 0, "it is there again")
    assert sorted(ids(process.claim(10))) == sorted(ids(jobs))
    beside.use_up(process)


def test_a_job_that_has_ended_is_not_restored(beside: Beside, process: Store) -> None:
    """Its copy was not used up yet when it was deleted."""
    job = process.add()
    process.end(process.take(), "succeed")
    process.do(process.broker.delete([job.id]))
    beside.use_up(process)
    assert not process.exists(job)


# A process dies between the two ---------------------------------------------------------------------

CHILD = """
import sys
from backburner import lifecycle
from backburner.brokers import connect
from backburner.brokers.base import Beat, Claim
from backburner.brokers.rabbitmq.results import RabbitWithResults
from backburner.job import JobRecord

url, results, then = sys.argv[1:]
broker = RabbitWithResults(url, connect(results))
broker.run(broker.identity())
if then == "enqueue":
    print("ready", flush=True)
    sys.stdin.readline()
    broker.run(broker.enqueue([JobRecord(id="the job", task="t")], {}))
else:
    broker.run(broker.heartbeat([Beat(worker="child", lease=0.5, new=True)]))
    claim = Claim(worker="child", queues=("default",), limit=1)
    [job] = broker.run(broker.exchange([], claim)).jobs
    print("ready", flush=True)
    sys.stdin.readline()
    error = lifecycle.ErrorInfo("E", "boom")
    broker.run(broker.exchange([lifecycle.retrying(job, error, 0.0, broker.now())], None))
print("done", flush=True)
"""


class Child:
    """A real process that is killed while RabbitMQ does not answer it."""

    def __init__(self, beside: Beside, proxy: Proxy, then: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, proxy.url(beside.url), beside.results, then],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.heard()

    def heard(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        assert self.heard() == "", "it was in the middle"
        self.process.communicate()


@every_store
def test_a_process_killed_between_storing_and_publishing_leaves_a_job_that_runs_once(
    beside: Beside, process: Store, proxy: Proxy
) -> None:
    child = Child(beside, proxy, "enqueue")
    proxy.stall()
    child.go()
    wait_until(lambda: bool(process.do(process.broker.get(["the job"]))), "the store has it")
    child.kill()
    assert beside.copies() == 0
    assert process.take().id == "the job"
    assert process.claim() == []


@every_store
def test_a_process_killed_between_a_retry_and_its_copy_leaves_a_job_that_runs_once_more(
    beside: Beside, process: Store, proxy: Proxy
) -> None:
    job = process.add()
    child = Child(beside, proxy, "retry")
    proxy.stall()
    child.go()
    wait_until(lambda: process.state(job) is not State.RUNNING, "the store has settled it")
    child.kill()
    wait_until(lambda: process.stage() + (process.state(job) is State.QUEUED) > 0, "it is due")
    again = process.take()
    assert (again.id, again.attempt) == (job.id, 2)
    process.end(again, "succeed")
    assert process.claim() == []
    beside.use_up(process)


@every_store
def test_a_process_killed_between_its_claim_and_the_end_of_the_copy_leaves_a_job_that_runs_once_more(
    beside: Beside, process: Store, proxy: Proxy
) -> None:
    job = process.add()
    child = Child(beside, proxy, "retry")
    child.kill()
    assert beside.copies() == 1
    wait_until(lambda: bool(process.rescue()), "its lease runs out")
    again = process.take()
    assert (again.id, again.crashes) == (job.id, 1)
    process.end(again, "succeed")
    assert process.claim() == []
    beside.use_up(process)


# RabbitMQ is away -----------------------------------------------------------------------------------


def test_while_rabbitmq_is_away_workers_go_on_and_the_copies_follow(beside: Beside, proxy: Proxy) -> None:
    process = beside.process(proxy.url(beside.url) + "&patience=1")
    process.enqueue(*[new_job() for _ in range(4)])
    proxy.refuse()
    proxy.cut()
    for _ in range(2):
        first, second = process.claim(2)
        process.end(first, "succeed")
        process.end(second, "snooze")
    assert process.stage() == 0
    with pytest.raises(BrokerUnavailable, match="the jobs are stored, and will run"):
        process.add(queue="other")
    assert len(process.claim(queues=("other",))) == 1
    proxy.accept()
    beside.use_up(process, left=2)  # those that snooze
    assert process.do(process.broker.queues())[0].counts == {"scheduled": 2, "succeeded": 2}


def test_a_second_try_of_an_enqueue_makes_the_missing_copy(beside: Beside, proxy: Proxy) -> None:
    process = beside.process(proxy.url(beside.url) + "&patience=1")
    process.add(queue="warm")
    job = new_job()
    proxy.refuse()
    proxy.cut()
    with pytest.raises(BrokerUnavailable):
        process.enqueue(job)
    proxy.accept()
    assert process.enqueue(new_job(id=job.id))[0].state is State.QUEUED
    wait_until(lambda: beside.copies() == 2, "both have a copy")


# All of it together ---------------------------------------------------------------------------------


@every_store
async def test_an_app_runs_on_the_two_and_leaves_no_copies(beside: Beside) -> None:
    app = Backburner(beside.url, results=beside.results, retry=Retry(first=0.1, jitter=0))
    ran: Counter[int] = Counter()

    @app.task
    async def double(number: int) -> int:
        ran[number] += 1
        if number % 10 == 0 and ran[number] == 1:
            raise OSError("the storage is away")
        return 2 * number

    async with app.worker():
        jobs = [*double.enqueue_many([(number,) for number in range(100)])]
        jobs.append(await double.using(delay=0.5).aenqueue(101))
        results = [await job.aresult(timeout=30) for job in jobs]
        assert results == [*range(0, 200, 2), 202]
        await asyncio.to_thread(wait_until, lambda: beside.copies() == 0, "no copy is left")
    assert ran == {number: 2 if number % 10 == 0 else 1 for number in (*range(100), 101)}
    app.close()
