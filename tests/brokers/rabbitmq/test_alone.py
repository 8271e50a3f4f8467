"""Who enqueues one after the other has a connection for that, and loses nothing by it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from backburner.brokers.rabbitmq import alone
from backburner.brokers.rabbitmq.alone import FEW
from backburner.brokers.rabbitmq.background import Background
from backburner.brokers.rabbitmq.schema import Part, Schema
from backburner.brokers.rabbitmq.session import Session
from backburner.errors import BrokerError, BrokerUnavailable
from backburner.job import JobRecord
from tests.brokers.rabbitmq.conftest import Connect, Process, new_job
from tests.brokers.rabbitmq.helpers import ask
from tests.brokers.redis.test_fork import in_child
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitServer

QUEUE = Schema("backburner", "quorum").name(Part("work", "default", "normal"))


@pytest.fixture
def proxy(rabbit_server: RabbitServer) -> Iterator[Proxy]:
    with Proxy(rabbit_server.port) as proxy:
        yield proxy


def session(process: Process) -> Session | None:
    """While nobody uses it."""
    idle = process.broker._driver.alone._idle
    return idle[0] if idle else None


def thread(process: Process) -> threading.Thread:
    found = process.broker._driver.alone._thread
    assert found is not None
    return found


def settled_in(process: Process) -> list[JobRecord]:
    """Enqueue one after the other until there is a connection for that."""
    jobs: list[JobRecord] = []
    while session(process) is None:
        jobs += process.add()
        assert len(jobs) < 10_000
    return jobs


def stored(process: Process, jobs: list[JobRecord]) -> None:
    """All of these, each of them once, and nothing else."""
    found = process.all(len(jobs))
    assert sorted(job.id for job in found) == sorted(job.id for job in jobs)
    assert process.claim() == []


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short pause ends the use of a connection, and what had gone wrong is forgotten as soon."""
    monkeypatch.setattr(alone, "PAUSE", 0.2)


@pytest.fixture
def process(connect: Connect) -> Process:
    return connect()


def test_no_other_thread_takes_part(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = settled_in(process)

    def refuse(*_: object) -> Any:
        raise AssertionError("the background was asked")

    with monkeypatch.context() as patched:
        patched.setattr(Background, "call", refuse)
        for _ in range(20):
            jobs += process.add()
    stored(process, jobs)


def test_threads_that_begin_at_once_open_one(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[threading.Thread] = []

    class Slow(threading.Thread):
        def start(self) -> None:
            begun.append(self)
            for _ in range(2 * FEW if len(begun) == 1 else 0):  # others come while it begins
                process.add()
            super().start()

    jobs = process.add()
    monkeypatch.setattr(threading, "Thread", Slow)
    jobs += settled_in(process)
    assert len(begun) == 1
    assert len(jobs) >= FEW


def test_an_enqueue_is_one_write_and_one_read(process: Process) -> None:
    settled_in(process)
    calls = list[str]()

    class Counted:
        def __init__(self, socket: Any) -> None:
            self._socket = socket

        def __getattr__(self, name: str) -> Callable[..., Any]:
            calls.append(name)
            found: Callable[..., Any] = getattr(self._socket, name)
            return found

    found = session(process)
    assert found is not None
    plain = found._socket
    found._socket = Counted(plain)  # type: ignore[assignment]
    process.add()
    found._socket = plain
    assert calls == ["settimeout", "sendall", "recv"]


def test_few_jobs_get_no_connection(process: Process) -> None:
    process.add()  # its queue is declared first: it is not counted
    for _ in range(FEW - 1):
        process.add()
    process.add(100)
    process.add(queue="new")
    assert process.broker._driver.alone._thread is None


@pytest.mark.usefixtures("brief")
def test_after_a_pause_the_connection_is_closed(connect: Connect, rabbit_url: str, proxy: Proxy) -> None:
    process = connect(url=proxy.url(rabbit_url))
    jobs = settled_in(process)
    jobs += process.add()
    thread(process).join(30)
    assert session(process) is None
    while proxy.connections > 1:  # the other side of the proxy is told a little later
        pass
    jobs += settled_in(process)
    stored(process, jobs)


def test_one_that_is_in_use_stays(process: Process) -> None:
    looked = threading.Barrier(2)

    class UsedThreeTimes(threading.Event):
        """What the thread waits for: each time until there was an enqueue, but no pause."""

        times = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.times += 1
            if self.times <= 3:
                process.add()
                return False
            looked.wait(30)
            return super().wait()

    process.broker._driver.alone._ended = UsedThreeTimes()
    settled_in(process)
    first = session(process)
    looked.wait(30)
    assert session(process) is first is not None


def test_a_queue_that_was_deleted_is_made_again(process: Process, rabbit_url: str) -> None:
    settled_in(process)
    ask(rabbit_url, "queue_delete", queue=QUEUE)
    stored(process, process.add() + process.add())


def test_a_connection_that_the_server_closes_is_left(process: Process, rabbit_server: RabbitServer) -> None:
    jobs = settled_in(process)
    rabbit_server.close_connections("maintenance")
    assert session(process) is not None
    jobs += process.add()
    assert session(process) is None
    stored(process, jobs)


def test_a_lost_confirm_loses_no_job(connect: Connect, rabbit_url: str, proxy: Proxy) -> None:
    process = connect(url=proxy.url(rabbit_url))
    settled_in(process)
    job = new_job()
    proxy.cut_replies(1, containing=job.id.encode())
    assert [each.id for each in process.enqueue(job)] == [job.id]
    assert proxy.replies_cut == 1
    assert session(process) is None
    while process.next().id != job.id:
        pass


def test_a_connection_that_swallows_everything_is_left(
    connect: Connect, rabbit_url: str, proxy: Proxy
) -> None:
    process = connect(url=proxy.url(rabbit_url), options="?patience=4")
    jobs = settled_in(process)
    proxy.strand()
    jobs += process.add()
    assert session(process) is None
    stored(process, jobs)


class Interrupted(Exception):
    """Thrown into a thread, as a time limit is."""


@contextmanager
def interrupted(process: Process, by: Callable[[], None]) -> Iterator[None]:
    """This thread is, as soon as it uses the connection: a signal handler runs `by`, and raises."""

    def handle(*_: object) -> None:
        by()
        raise Interrupted

    def send() -> None:
        while session(process) is not None:
            pass
        signal.pthread_kill(main, signal.SIGUSR1)

    main = threading.get_ident()
    sender, before = threading.Thread(target=send), signal.signal(signal.SIGUSR1, handle)
    sender.start()
    try:
        with pytest.raises(Interrupted):
            yield
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)


def test_a_thread_that_is_interrupted_leaves_no_confirm_to_the_next(
    connect: Connect, rabbit_url: str, proxy: Proxy
) -> None:
    """A job that the server has not would be taken for stored."""
    process = connect(url=proxy.url(rabbit_url))
    settled_in(process)
    proxy.stall()
    with interrupted(process, lambda: None):
        process.add()
    assert session(process) is None
    proxy.resume()
    [job] = process.add()
    while process.next().id != job.id:
        pass


def test_a_signal_handler_may_close_the_broker(connect: Connect, rabbit_url: str, proxy: Proxy) -> None:
    """The thread that it interrupts has the connection: nobody may wait until it gives that back."""
    process = connect(url=proxy.url(rabbit_url))
    settled_in(process)
    keeper = thread(process)
    proxy.stall()
    with interrupted(process, process.broker.close):
        process.add()
    keeper.join(30)
    assert not keeper.is_alive()
    proxy.resume()
    process.add()


def test_an_alarm_is_told_and_the_job_is_not_there_twice_when_it_is_over(
    connect: Connect, rabbit_server: RabbitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where heartbeats come meanwhile, which are no answer."""
    monkeypatch.setattr("backburner.brokers.rabbitmq.session.HEARTBEAT", 1)
    process = connect("?patience=2")
    jobs = settled_in(process)
    rabbit_server.raise_alarm()
    late = new_job()
    try:
        assert session(process) is not None
        with pytest.raises(BrokerUnavailable, match="alarm is set"):
            process.enqueue(late)
        assert session(process) is None
    finally:
        rabbit_server.clear_alarm()
    jobs += [late, *process.add()]
    stored(process, jobs)


def test_an_alarm_that_ends_in_time_is_waited_for(connect: Connect, rabbit_server: RabbitServer) -> None:
    process = connect("?patience=60")
    jobs = settled_in(process)
    used = session(process)
    rabbit_server.raise_alarm()
    adding = threading.Thread(target=lambda: jobs.extend(process.add()))
    try:
        adding.start()
        while "blocked" not in rabbit_server.ctl("list_connections", "state"):
            pass
    finally:
        rabbit_server.clear_alarm()
    adding.join(60)
    assert session(process) is used
    stored(process, jobs)


def test_threads_that_enqueue_at_once_get_their_jobs_stored(process: Process) -> None:
    jobs = settled_in(process)
    ended = threading.Barrier(9)

    def enqueue() -> None:
        for _ in range(50):
            jobs.extend(process.add())
        ended.wait(60)

    for _ in range(8):
        threading.Thread(target=enqueue).start()
    ended.wait(60)
    stored(process, jobs)


def test_a_child_has_its_own(process: Process) -> None:
    jobs = settled_in(process)
    mine = session(process)
    jobs += in_child(lambda: settled_in(process) + process.add())
    jobs += process.add()
    assert session(process) is mine
    stored(process, jobs)


def test_the_largest_and_what_cannot_be_sent(connect: Connect) -> None:
    process = connect("?patience=60")
    jobs = settled_in(process)
    used = session(process)
    jobs += process.add(payload=b"x" * 3_000_000)
    assert session(process) is used
    with pytest.raises(BrokerError, match="cannot be sent"):
        process.add(id="x" * 300)
    jobs += process.add()
    stored(process, jobs)


def test_a_job_that_waits_comes_when_it_is_due(process: Process) -> None:
    jobs = settled_in(process)
    for _ in range(3):
        jobs += process.add(state="scheduled", run_at=process.broker.now() + 1.0)
    stored(process, jobs)


def test_heartbeats_are_read_over(process: Process) -> None:
    jobs = settled_in(process)
    used = session(process)
    assert used is not None
    used._data = 2 * b"\x08\0\0\0\0\0\0\xce"
    jobs += process.add()
    assert session(process) is used
    stored(process, jobs)


@pytest.mark.usefixtures("brief")
def test_who_is_not_let_in_enqueues_the_usual_way(connect: Connect, rabbit_url: str, proxy: Proxy) -> None:
    process = connect(url=proxy.url(rabbit_url))
    jobs = process.add()
    proxy.refuse()
    for _ in range(FEW):
        jobs += process.add()
    thread(process).join(30)
    assert session(process) is None
    proxy.accept()
    jobs += settled_in(process)
    stored(process, jobs)


def test_a_server_that_speaks_something_else_is_left(process: Process) -> None:
    """A word that nobody asked for is no confirm."""
    jobs = settled_in(process)
    found = session(process)
    assert found is not None
    found._data = b"\x01\x00\x01\x00\x00\x00\x04\xff\xff\xff\xff\xce"
    jobs += process.add()
    assert session(process) is None
    stored(process, jobs)


def test_where_no_thread_can_be_started_jobs_go_the_usual_way(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = process.add()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    for _ in range(2 * FEW):
        jobs += process.add()
    monkeypatch.undo()
    stored(process, jobs)


def test_one_of_several_hosts_is_enough(
    connect: Connect, rabbit_server: RabbitServer, rabbit_url: str
) -> None:
    here = f"127.0.0.1:{rabbit_server.port}"
    process = connect(url=rabbit_url.replace(here, f"127.0.0.1:1,{here}"))
    jobs = settled_in(process)
    jobs += process.add()
    stored(process, jobs)


def test_with_tls() -> None:
    with RabbitServer(tls=True) as server:
        process = Process(server.url)
        jobs = settled_in(process)
        jobs += process.add()
        assert session(process) is not None
        stored(process, jobs)
        process.broker.close()
