"""Messages are read and written as pika does it, however the bytes come."""

from __future__ import annotations

import pytest
from pika import BasicProperties, frame, spec
from pika.exceptions import UnsupportedAMQPFieldException

from backburner.brokers.rabbitmq.wire import (
    LARGE,
    Confirm,
    Deliver,
    Incomplete,
    Properties,
    publication,
    read,
)

PROPERTIES = BasicProperties(message_id="1", headers={"job": "é", "x-delivery-count": 2}, delivery_mode=2)


def frames(body: bytes, channel: int = 3, tag: str = "urgent.7", split: int = 5) -> bytes:
    deliver = spec.Basic.Deliver(tag, delivery_tag=2**40, redelivered=True, exchange="x", routing_key="é")
    parts = [body[at : at + split] for at in range(0, len(body), split)]
    return b"".join(
        each.marshal()
        for each in (
            frame.Method(channel, deliver),
            frame.Header(channel, len(body), PROPERTIES),
            *(frame.Body(channel, part) for part in parts),
        )
    )


@pytest.mark.parametrize("body", [b"", b"[1]", b"0123456789abc"])
def test_a_delivery_is_read_in_one_piece(body: bytes) -> None:
    before, data = frame.Heartbeat().marshal(), frames(body)
    found = read(before + data + b"more", len(before))
    assert isinstance(found, Deliver)
    assert (found.channel, found.consumer_tag, found.delivery_tag) == (3, b"urgent.7", 2**40)
    assert (found.redelivered, found.body, found.end) == (True, body, len(before) + len(data))
    assert BasicProperties().decode(found.properties) == PROPERTIES


@pytest.mark.parametrize("multiple", [True, False])
@pytest.mark.parametrize("refused", [True, False])
def test_a_confirm_is_read(multiple: bool, refused: bool) -> None:
    method = (spec.Basic.Nack if refused else spec.Basic.Ack)(delivery_tag=2**40, multiple=multiple)
    data = frame.Method(3, method).marshal()
    assert read(b"ab" + data + b"more", 2) == Confirm(3, 2**40, multiple, refused, 2 + len(data))


@pytest.mark.parametrize("data", [frames(b"0123456789"), frame.Method(3, spec.Basic.Ack(1)).marshal()])
def test_what_has_not_come_yet_is_waited_for(data: bytes) -> None:
    for end in range(len(data)):
        with pytest.raises(Incomplete):
            read(data[:end], 0)


@pytest.mark.parametrize(
    "data",
    [
        frame.Heartbeat().marshal(),
        frame.Method(3, spec.Basic.QosOk()).marshal(),
        frame.Method(3, spec.Basic.Deliver("t", 1, False, "", "")).marshal() + frame.Heartbeat().marshal(),
        frames(b"x" * (LARGE + 1), split=100_000),
    ],
    ids=["a heartbeat", "an answer", "frames of others in between", "a large body"],
)
def test_all_else_is_left_alone(data: bytes) -> None:
    assert read(data, 0) is None


@pytest.mark.parametrize("body", [b"", b"[1]", b"0123456789"], ids=["empty", "one frame", "three frames"])
@pytest.mark.parametrize(
    "given",
    [
        Properties("1"),
        Properties("é", {"job": "ü", "count": 2, "more": {"a": [None]}}, "application/json", "x.y", "s"),
    ],
    ids=["little", "all"],
)
def test_a_publication_is_what_pika_writes(given: Properties, body: bytes) -> None:
    named = {name: value for name, value in given._asdict().items() if value}
    written = [
        frame.Method(3, spec.Basic.Publish(exchange="x", routing_key="é", mandatory=True)),
        frame.Header(3, len(body), BasicProperties(delivery_mode=2, **named)),
        *(frame.Body(3, body[at : at + 4]) for at in range(0, len(body), 4)),
    ]
    assert publication(3, "x", "é", True, given, body, 4) == b"".join(each.marshal() for each in written)


def test_what_amqp_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="bytes must be in range"):
        publication(3, "", "key", True, Properties("x" * 256), b"", 4)
    with pytest.raises(UnsupportedAMQPFieldException):
        publication(3, "", "key", True, Properties("1", {"job": object()}), b"", 4)
