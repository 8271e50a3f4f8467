"""What RabbitMQ alone has, as its node sees it, or its dead letters tell."""

from __future__ import annotations

import re

from backburner import Backburner, State
from backburner.brokers.base import Filter
from tests.servers.rabbitmq import RabbitServer

DEAD = "backburner.dead.default"


def messages(server: RabbitServer) -> dict[str, int]:
    """How many are in each quorum queue, waiting or in somebody's hand; 1 of one that gives no answer.

    It begins, or has just failed and begins again: after a kill RabbitMQ 3.10 may not find in its log what it
    is about to deliver (`rabbit_fifo`, a `function_clause` of `lists:zipwith`).
    """
    answer = server.evaluate(
        "[{binary_to_list(element(4, amqqueue:get_name(Queue))), case catch "
        "ra:leader_query(amqqueue:get_pid(Queue), fun rabbit_fifo:query_messages_total/1) of "
        "{ok, {_, Count}, _} -> Count; _ -> 1 end} "
        "|| Queue <- rabbit_amqqueue:list(), amqqueue:is_quorum(Queue)]"
    )
    return {name: int(count) for name, count in re.findall(r'\{"([^"]+)",\s*(\d+)\}', answer)}


def jobs_left(server: RabbitServer) -> int:
    return sum(count for name, count in messages(server).items() if name != DEAD)


def dead_letters(app: Backburner) -> dict[str, str]:
    """Why each dead job died, by the job's id."""
    found = app.broker.run(app.broker.find(Filter(states=(State.DEAD,), queue="default", limit=100_000)))
    return {job.id: job.reason or "" for job in found}
