"""A process that forks, and its children: each has connections of its own."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from redis import Redis

from backburner.brokers.redis.broker import RedisBroker
from tests.brokers.redis.conftest import add, ids, new_job

FORK = multiprocessing.get_context("fork")


def in_child(work: Callable[[], Any]) -> Any:
    """What `work` gives in a forked process."""
    pipe, theirs = FORK.Pipe()
    process = FORK.Process(target=serve, args=(theirs, work))
    process.start()
    assert pipe.poll(30)
    answer = pipe.recv()
    process.join(30)
    assert process.exitcode == 0
    process.close()
    pipe.close()
    theirs.close()
    return answer


def serve(pipe: Connection, work: Callable[[], Any]) -> None:
    pipe.send(work())


def test_a_child_goes_on_with_the_broker_of_its_parent(broker: RedisBroker) -> None:
    first = add(broker).id
    second = in_child(lambda: add(broker).id)
    third = add(broker).id
    assert ids(broker) == {first, second, third}


def test_a_child_that_ends_leaves_the_sessions_of_its_parent_alone(
    broker: RedisBroker, client: Redis
) -> None:
    def sessions() -> set[str]:
        return {each["id"] for each in client.client_list()}

    def add_and_close() -> str:
        job = add(broker, queue="other")
        broker.close()
        return job.id

    with broker.waiter(["queue:default"]) as waiter:
        add(broker, queue="other")
        before = sessions()
        in_child(add_and_close)
        assert before <= sessions()
        add(broker)
        assert waiter.wait(30)


def test_a_child_can_wait_for_itself(broker: RedisBroker) -> None:
    def work() -> bool:
        with broker.waiter(["queue:default"]) as waiter:
            add(broker)
            return any(waiter.wait(1) for _ in range(30))

    with broker.waiter(["queue:elsewhere"]):
        assert in_child(work)


def test_a_fork_while_others_enqueue_disturbs_nobody(broker: RedisBroker) -> None:
    jobs = [new_job() for _ in range(200)]
    thread = threading.Thread(target=lambda: [broker.run(broker.enqueue([job], {})) for job in jobs])
    thread.start()
    mine = {in_child(lambda: add(broker).id) for _ in range(3)}
    thread.join()
    assert ids(broker) == {*mine, *(job.id for job in jobs)}
