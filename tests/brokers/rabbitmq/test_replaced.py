"""Jobs that come back from a classic queue, which does not count that: each is published again, counted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from backburner.brokers.rabbitmq.message import Message
from backburner.brokers.rabbitmq.publisher import Publisher
from backburner.errors import BrokerError
from tests.brokers.rabbitmq.conftest import Connect


def test_jobs_that_come_back_keep_their_order_while_a_connection_is_opened(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, slow = Publisher.publish, list[bool]()

    async def slow_at_first(publisher: Publisher, messages: Sequence[Message]) -> None:
        if messages and not slow:
            slow.append(True)
            await asyncio.sleep(0.2)  # what a new connection takes: all that overtakes is through by then
        await publish(publisher, messages)

    one, other = connect("?queues=classic"), connect("?queues=classic")
    jobs = one.add(10)
    assert len(one.claim(10)) == 10
    monkeypatch.setattr(Publisher, "publish", slow_at_first)
    one.broker.close()
    assert [job.id for job in other.all(10)] == [job.id for job in jobs]


def test_one_that_cannot_be_published_again_does_not_hold_up_the_others(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Publisher.publish
    one, other = connect("?queues=classic"), connect("?queues=classic")
    bad, *jobs = one.add(10)
    assert len(one.claim(10)) == 10

    async def refuse(publisher: Publisher, messages: Sequence[Message]) -> None:
        if any(each.properties.message_id == bad.id for each in messages):
            raise BrokerError("the server refuses it")
        await publish(publisher, messages)

    monkeypatch.setattr(Publisher, "publish", refuse)
    one.broker.close()
    assert [job.id for job in other.all(9)] == [job.id for job in jobs]
