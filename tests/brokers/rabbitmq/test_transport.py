"""RabbitMQ as a transport: what it keeps, in which order it gives it, and who may settle it."""

from __future__ import annotations

import math
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pika
import pytest

from backburner import lifecycle
from backburner.brokers.base import Claim
from backburner.brokers.rabbitmq.schema import Part, Schema
from backburner.errors import BrokerError, BrokerUnavailable
from backburner.lifecycle import ErrorInfo
from tests.brokers.rabbitmq.beside import wait_until
from tests.brokers.rabbitmq.conftest import Connect, Process, new_job
from tests.brokers.rabbitmq.helpers import ask, waiting
from tests.servers.rabbitmq import RabbitServer

BOOM = ErrorInfo("builtins.OSError", "the storage is away", "Traceback …")
KINDS = pytest.mark.parametrize("kind", ["quorum", "classic"])
SCHEMA = Schema("backburner", "quorum")


@KINDS
def test_what_was_enqueued_is_there_after_the_node_was_killed(
    connect: Connect, rabbit_server: RabbitServer, kind: str
) -> None:
    process = connect(f"?queues={kind}")
    jobs = process.add(100)
    rabbit_server.sync()
    rabbit_server.kill()
    rabbit_server.start()
    found = process.all(100)
    assert [job.id for job in found] == [job.id for job in jobs]
    assert process.settle(*(lifecycle.succeeded(job, None, 0.0, keep=0) for job in found)) == []


@KINDS
def test_the_first_dead_letter_of_a_queue_is_there_after_the_node_was_killed(
    connect: Connect, rabbit_server: RabbitServer, kind: str
) -> None:
    """RabbitMQ forgets a queue that was declared less than a second before: it must be older than that."""
    process = connect(f"?queues={kind}")
    process.add()
    [job] = process.claim()
    rabbit_server.sync()  # as RabbitMQ itself does within a second
    process.settle(lifecycle.dead(job, BOOM, "attempts used up", process.broker.now()))
    rabbit_server.kill()
    rabbit_server.start()
    [letter] = letters(process)
    assert letter["reason"] == "attempts used up"


def test_who_enqueues_has_the_place_for_dead_letters_declared(connect: Connect, rabbit_url: str) -> None:
    connect().add(queue="mail")
    assert waiting(rabbit_url, "dead.mail") == 0


def test_a_long_delay_never_holds_a_short_one(connect: Connect) -> None:
    process = connect()
    process.add(delay=1_000_000)
    [short] = process.add(delay=0.5)
    began = time.monotonic()
    assert process.next().id == short.id
    assert time.monotonic() - began < 15
    assert process.claim() == []


@KINDS
def test_a_retry_comes_again_with_its_history(connect: Connect, kind: str) -> None:
    process = connect(f"?queues={kind}")
    process.add(payload=b'["x"]')
    [first] = process.claim()
    process.settle(lifecycle.retrying(first, BOOM, 0.1, process.broker.now()))
    second = process.next()
    assert (second.id, second.payload, second.attempt) == (first.id, b'["x"]', 2)
    assert second.token > first.token
    process.settle(lifecycle.dead(second, BOOM, "attempts used up", process.broker.now()))
    [letter] = letters(process)
    assert letter["reason"] == "attempts used up"
    assert letter["error"] == "builtins.OSError: the storage is away"
    assert letter["history"].count("the storage is away") >= 2


def letters(process: Process, queue: str = "default") -> list[dict[str, str]]:
    """The headers of all dead letters of a queue, by a plain client."""
    connection = pika.BlockingConnection(pika.URLParameters(process.broker.url.partition("?")[0]))
    channel = connection.channel()
    found = []
    while (got := channel.basic_get(SCHEMA.name(Part("dead", queue))))[0] is not None:
        found.append(got[1].headers)
    connection.close()
    return found


@KINDS
def test_a_delivery_that_went_to_another_cannot_be_settled_by_the_first(
    connect: Connect, rabbit_server: RabbitServer, kind: str
) -> None:
    first, second = connect(f"?queues={kind}"), connect(f"?queues={kind}")
    first.add()
    [stale] = first.claim()
    rabbit_server.close_connections("a test")
    current = second.next()
    assert (current.id, current.crashes) == (stale.id, 1)
    assert current.token > stale.token
    assert first.settle(lifecycle.retrying(stale, BOOM, 0, first.broker.now())) == [stale.id, stale.id]
    assert second.settle(lifecycle.succeeded(current, None, 0.0, keep=0)) == []
    assert second.claim() == []


@KINDS
def test_every_worker_that_dies_with_a_job_counts(
    connect: Connect, rabbit_server: RabbitServer, kind: str
) -> None:
    process = connect(f"?queues={kind}")
    process.add()
    for crashes in range(4):
        assert process.next().crashes == crashes
        # On a classic queue this one replaces another, which is acknowledged once this is confirmed: by then.
        process.add(queue="other")
        rabbit_server.close_connections("a test")


def test_an_exchange_tells_what_a_lost_connection_took_away(
    connect: Connect, rabbit_server: RabbitServer
) -> None:
    process, other = connect(), connect()
    [job] = process.add()
    process.claim()
    rabbit_server.close_connections("a test")
    assert other.next().id == job.id
    assert process.settle() == [job.id]
    assert process.settle() == []


def test_what_one_does_not_claim_goes_to_others(connect: Connect) -> None:
    hoarder, other = connect(), connect()
    jobs = hoarder.add(20)
    [first] = hoarder.claim(1)
    hoarder.settle(lifecycle.succeeded(first, None, 0.0, keep=0))
    found = [other.next() for _ in jobs[1:]]
    assert {job.id for job in found} == {job.id for job in jobs[1:]}
    assert {job.crashes for job in found} == {0}


def test_a_window_that_grows_loses_and_doubles_nothing(connect: Connect) -> None:
    process = connect()
    jobs = process.add(500)
    found = []
    for limit in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        found += process.claim(limit)
    assert [job.id for job in found] == [job.id for job in jobs]
    assert {job.crashes for job in found} == {0}


def test_a_closed_broker_gives_back_what_it_had_not_claimed(connect: Connect) -> None:
    first, second = connect(), connect()
    jobs = first.add(10)
    claimed = first.claim(5)
    first.settle(*(lifecycle.succeeded(job, None, 0.0, keep=0) for job in claimed))
    first.broker.close()
    found = second.claim()
    assert [job.id for job in found] == [job.id for job in jobs[5:]]
    assert {job.crashes for job in found} == {0}


def test_a_pause_holds_for_workers_that_run_and_for_those_to_come(connect: Connect) -> None:
    runs, operator = connect(), connect()
    runs.add()
    assert runs.claim() != []
    operator.broker.run(operator.broker.set_queue("default", paused=True))
    operator.broker.run(operator.broker.set_queue("default", paused=True))
    [waiting] = operator.add()
    late = connect()
    assert late.claim() == []
    with late.broker.waiter(["queue:default"]) as waiter:
        operator.broker.run(operator.broker.set_queue("default", paused=False))
        assert waiter.wait(20)
    assert late.next().id == waiting.id


def test_follow_ups_are_enqueued_with_the_settlement(connect: Connect) -> None:
    process = connect()
    process.add()
    [job] = process.claim()
    then = new_job(task="then")
    done = lifecycle.succeeded(job, None, 0.0, keep=0, follow_ups=(then,))
    assert [found.id for found in process.claim(10, done)] == [then.id]


def test_a_job_that_is_released_keeps_its_attempt_and_comes_first(connect: Connect) -> None:
    process = connect()
    jobs = process.add(3)
    [claimed] = process.claim(1)
    process.settle(lifecycle.released(claimed, process.broker.now()))
    found = process.claim()
    assert [job.id for job in found] == [job.id for job in jobs]
    assert [job.attempt for job in found] == [1, 1, 1]


def test_a_queue_that_was_deleted_is_made_again(connect: Connect) -> None:
    process = connect()
    process.add()
    process.claim()
    with process.broker.waiter(["queue:default"]) as waiter:
        connection = pika.BlockingConnection(pika.URLParameters(process.broker.url))
        channel = connection.channel()
        for band in ("front", "urgent", "high", "normal", "low", "idle"):
            channel.queue_delete(SCHEMA.name(Part("work", "default", band)))
        connection.close()
        assert waiter.wait(20)
    [job] = process.add()
    assert process.next().id == job.id


def test_one_that_an_enqueue_makes_again_at_once_is_worked_on(connect: Connect, rabbit_url: str) -> None:
    """RabbitMQ ends no consumer of it, and dropped as many of the new jobs as had been delivered before."""
    worker, program = connect(), connect()
    program.add(3)
    [other] = program.add(queue="other")
    held = worker.claim(4, queues=("default", "other"))
    assert len(held) == 4
    ask(rabbit_url, "queue_delete", queue=SCHEMA.name(Part("work", "default", "normal")))
    jobs = program.add() + program.add(4)
    wait_until(lambda: bool(worker.broker._driver.consumer._remade), "the worker was told")
    ended = [lifecycle.succeeded(job, None, 0.0, keep=0) for job in held if job.id != other.id]
    assert worker.settle(*ended) == []
    assert {job.id for job in worker.all(5)} == {job.id for job in jobs}
    assert worker.next("other").id == other.id  # as after each end of a connection


def test_who_waits_after_a_high_pace_lets_the_next_jobs_be_for_others(connect: Connect) -> None:
    """It claims nothing for seconds, and had the window of the high pace for so long."""
    process = connect()
    process.add(3000)
    for _ in range(30):
        held = process.all(100)
        process.settle(*(lifecycle.succeeded(job, None, 0.0, keep=0) for job in held))
    subscription = process.broker._driver.consumer._subscriptions["default"]
    assert subscription.window > 500
    with process.broker.waiter(["queue:default"]):
        wait_until(lambda: subscription.window < 500, "it has a smaller one")


def test_a_message_of_somebody_else_is_kept_among_the_dead(connect: Connect) -> None:
    process = connect()
    process.add()
    process.claim()
    connection = pika.BlockingConnection(pika.URLParameters(process.broker.url))
    connection.channel().basic_publish("", SCHEMA.name(Part("work", "default", "normal")), b"hello")
    connection.close()
    [job] = process.add()
    assert process.next().id == job.id
    while not (found := letters(process)):
        process.claim()
    assert "no job of Backburner" in found[0]["reason"]


def test_blocked_publishers_are_told_why_and_workers_go_on(
    connect: Connect, rabbit_server: RabbitServer
) -> None:
    process = connect("?patience=2")
    jobs = process.add(3)
    claimed = process.claim(2)
    rabbit_server.raise_alarm()
    try:
        with pytest.raises(BrokerUnavailable, match="alarm is set"):
            process.add()
        assert process.settle(*(lifecycle.succeeded(job, None, 0.0, keep=0) for job in claimed)) == []
        assert [job.id for job in process.claim()] == [jobs[2].id]
        with pytest.raises(BrokerUnavailable, match="alarm is set"):
            process.add()
    finally:
        rabbit_server.clear_alarm()
    [after] = process.add()
    while process.next().id != after.id:
        pass


def test_heartbeats_are_answered_while_a_thread_computes(connect: Connect) -> None:
    process = connect("?heartbeat=1")
    process.add()
    [job] = process.claim()
    until = time.monotonic() + 4
    while time.monotonic() < until:
        sum(range(1000))
    assert process.settle(lifecycle.succeeded(job, None, 0.0, keep=0)) == []
    assert process.claim() == []


def test_a_forked_child_enqueues_on_a_connection_of_its_own(connect: Connect) -> None:
    process = connect()
    process.add()
    if (child := os.fork()) == 0:
        try:
            process.add()
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert len(process.claim()) == 2


def test_a_node_that_is_away_is_waited_for(connect: Connect, rabbit_server: RabbitServer) -> None:
    process = connect("?patience=25")
    process.add()
    rabbit_server.stop()
    rabbit_server.start()
    process.add()
    assert len(process.claim()) == 2


def test_a_node_that_stays_away_is_said(connect: Connect) -> None:
    process = connect("?patience=0.3", url="amqp://127.0.0.1:1/")
    with pytest.raises(BrokerUnavailable, match="is it running"):
        process.add()
    with pytest.raises(BrokerUnavailable, match="is it running"):
        process.claim()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("guest:guest", "guest:wrong"), "correct them in the URL"),
        (("/test-", "/missing-"), "add_vhost"),
    ],
)
def test_a_wrong_url_is_said_at_once(
    connect: Connect, rabbit_url: str, change: tuple[str, str], says: str
) -> None:
    process = connect(url=rabbit_url.replace(*change))
    with pytest.raises(BrokerError, match=says) as caught:
        process.add()
    assert not isinstance(caught.value, BrokerUnavailable)


def test_queues_of_another_kind_are_told_from_an_outage(connect: Connect) -> None:
    connect("?queues=quorum").add()
    with pytest.raises(BrokerError, match="doctor"):
        connect("?queues=classic").add()


def test_tls(tmp_path_factory: pytest.TempPathFactory) -> None:
    with RabbitServer(tls=True) as server:
        process = Process(server.url)
        process.add()
        assert len(process.claim()) == 1
        process.broker.close()
        stranger = Process(server.url.partition("?")[0])
        with pytest.raises(BrokerError, match="cacertfile"):
            stranger.add()
        stranger.broker.close()


def test_of_two_messages_of_one_job_one_is_run(connect: Connect) -> None:
    """A confirm that was lost with the connection makes two."""
    process, job = connect(), new_job()
    process.enqueue(job)
    process.enqueue(new_job(id=job.id))
    [claimed] = process.claim()
    assert process.settle(lifecycle.succeeded(claimed, None, 0.0, keep=0)) == []
    process.broker.close()
    assert process.claim() == []


def test_one_queue_of_several_that_is_deleted_takes_no_job_away(connect: Connect) -> None:
    process = connect()
    process.add(2)
    [held] = process.claim(1)
    connection = pika.BlockingConnection(pika.URLParameters(process.broker.url))
    with process.broker.waiter(["queue:default"]) as waiter:
        connection.channel().queue_delete(SCHEMA.name(Part("work", "default", "idle")))
        assert waiter.wait(20)
    connection.close()
    assert process.claim() != []
    assert process.settle(lifecycle.succeeded(held, None, 0.0, keep=0)) == []


def test_a_strangers_word_to_all_workers_harms_nobody(connect: Connect) -> None:
    process = connect()
    process.add()
    [held] = process.claim()
    connection = pika.BlockingConnection(pika.URLParameters(process.broker.url))
    connection.channel().basic_publish(SCHEMA.control, "", b"no JSON")
    connection.close()
    process.broker.run(process.broker.set_queue("other", paused=True))
    assert process.settle(lifecycle.succeeded(held, None, 0.0, keep=0)) == []


@pytest.mark.parametrize("size", [2, 200_000, 3_000_000])
def test_arguments_of_any_size_arrive(connect: Connect, size: int) -> None:
    """Of several frames, and beyond what is read in one piece."""
    process = connect()
    payload = b'"' + b"x" * size + b'"'
    process.add(3, payload=payload)
    assert [job.payload for job in process.claim()] == [payload] * 3


def test_a_job_whose_connection_is_lost_during_an_exchange_is_not_taken_for_a_double(
    connect: Connect, rabbit_server: RabbitServer
) -> None:
    process = connect("?patience=60")
    process.add(2)
    held, failed = process.claim(2)
    retry = lifecycle.retrying(failed, BOOM, 0, process.broker.now())
    rabbit_server.raise_alarm()
    try:
        claim = Claim(worker="w", queues=("default",), limit=10)
        with ThreadPoolExecutor() as pool:
            exchange = pool.submit(process.broker.run, process.broker.exchange([retry], claim))
            with pytest.raises(TimeoutError):
                exchange.result(1)  # it waits for the end of the alarm
            rabbit_server.close_connections("a test")
            rabbit_server.clear_alarm()
            found = exchange.result(60)
    finally:
        rabbit_server.clear_alarm()
    jobs = {job.id: job for job in found.jobs}
    while held.id not in jobs:
        job = process.next()
        jobs[job.id] = job
    assert jobs[held.id].crashes == 1
    assert held.id in [*found.lost, *process.settle()]


def test_what_a_lost_connection_took_away_is_told_after_an_outage(
    connect: Connect, rabbit_server: RabbitServer
) -> None:
    process = connect("?patience=1")
    [job] = (process.add(), process.claim())[1]
    rabbit_server.kill()
    with pytest.raises(BrokerUnavailable):
        process.claim()
    rabbit_server.start()
    for _ in range(30):
        try:
            assert process.settle() == [job.id]
            break
        except BrokerUnavailable:
            continue


def test_what_cannot_be_published_harms_no_other(connect: Connect) -> None:
    process = connect("?patience=5")
    process.add()
    with pytest.raises(BrokerError, match="cannot be sent"):
        process.enqueue(new_job(id="i" * 300))
    process.add(3)
    process.add(3, task="t" * 300)
    assert len(process.claim()) == 7


def test_a_settlement_that_rabbitmq_cannot_take_ends_among_the_dead(connect: Connect) -> None:
    process = connect()
    process.add(4)
    first, second, third, other = process.claim()
    now = process.broker.now()
    following = lifecycle.succeeded(third, None, 0.0, keep=0)
    following.follow_ups = (new_job(queue="q" * 250),)
    settlements = [
        lifecycle.snoozed(first, 1e9, now),
        lifecycle.retrying(second, BOOM, math.inf, now),
        following,
        lifecycle.succeeded(other, None, 0.0, keep=0),
    ]
    assert process.settle(*settlements) == []
    reasons = [letter["reason"] for letter in letters(process)]
    assert [reason.count("schedule it later") for reason in reasons] == [1, 1, 0]
    assert "too long a name" in reasons[2]


@KINDS
def test_a_message_with_a_false_count_harms_nobody(connect: Connect, kind: str) -> None:
    process = connect(f"?queues={kind}")
    process.add()
    connection = pika.BlockingConnection(pika.URLParameters(process.broker.url.partition("?")[0]))
    connection.channel().basic_publish(
        "",
        SCHEMA.name(Part("work", "default", "normal")),
        b"[]",
        pika.BasicProperties(headers={"job": '{"id":"1","task":"t"}', "x-delivery-count": "many"}),
    )
    connection.close()
    with process.broker.waiter(["queue:default"]):
        assert process.next().task == "t"
        assert process.next().task == "t"
    assert process.settle() == []
