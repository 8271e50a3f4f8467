"""The frames of one message, read and written in one piece (pure): AMQP 0-9-1, sections 2.3.5 and 4.2.

A message is a method frame (basic.publish or basic.deliver), a header frame and the frames of its body; each
has a type, a channel, a size, a payload and an end mark. pika makes objects of all of them and hands them
around: 30 µs a delivery, half of what a job without work cost its worker, 10 µs a publication, and 50 µs the
frame that confirms it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from pika import BasicProperties
from pika import data as amqp
from pika.exceptions import AMQPError

FRAME = struct.Struct(">BHI")
HEAD = struct.Struct(">HHQH")
EIGHT = struct.Struct(">Q")
METHOD, HEADER, BODY = 1, 2, 3
END = b"\xce"
BASIC = 60
PUBLISH = b"\x00\x3c\x00\x28\x00\x00"
DELIVER = b"\x00\x3c\x00\x3c"
ACK, NACK = b"\x00\x3c\x00\x50", b"\x00\x3c\x00\x78"
ON_DISK = b"\x02"
LARGE = 1 << 20
"""Bytes from which on a body is left to pika, which gathers it as it comes."""


class Incomplete(Exception):
    """The rest has not come yet."""


class Deliver(NamedTuple):
    """What a basic.deliver says; callbacks know pika's by the same names."""

    channel: int
    consumer_tag: bytes
    delivery_tag: int
    redelivered: bool
    properties: bytes
    body: bytes
    end: int
    """Where the next frame begins."""


class Confirm(NamedTuple):
    """What a basic.ack or a basic.nack says of messages that were published."""

    channel: int
    tag: int
    multiple: bool
    """Of all up to that one."""
    refused: bool
    end: int
    """Where the next frame begins."""


NO_PROPERTIES = (
    *(AMQPError, ValueError, TypeError, LookupError, ArithmeticError),
    *(OSError, RecursionError, struct.error),
)
"""What pika raises for properties that it cannot read: a time in the year 300,000, tables within tables."""


def properties(data: bytes) -> Any:
    """What stands beside a body, by pika's names; nothing of what cannot be read."""
    try:
        return BasicProperties().decode(data)
    except NO_PROPERTIES:
        return BasicProperties()


NO_HEADERS: Mapping[str, Any] = MappingProxyType({})


class Properties(NamedTuple):
    """What stands beside the body of a message that is published. The server keeps it on disk."""

    message_id: str
    headers: Mapping[str, Any] = NO_HEADERS
    content_type: str = ""
    type: str = ""
    app_id: str = ""


def publication(
    channel: int, exchange: str, key: str, mandatory: bool, given: Properties, body: bytes, most: int
) -> bytes:
    """A basic.publish with its message; a frame has `most` bytes of the body at most.

    Raises `ValueError` or one of pika's `AMQPError`s for what cannot be written down.
    """
    flags, pieces = 0, []
    for flag, piece in (
        (1 << 15, given.content_type and _short(given.content_type)),
        (1 << 13, given.headers and _table(given.headers)),
        (1 << 12, ON_DISK),
        (1 << 7, _short(given.message_id)),
        (1 << 5, given.type and _short(given.type)),
        (1 << 3, given.app_id and _short(given.app_id)),
    ):
        if piece:
            flags |= flag
            pieces.append(piece)
    head = HEAD.pack(BASIC, 0, len(body), flags) + b"".join(pieces)
    frames = [_publish(channel, exchange, key, mandatory), FRAME.pack(HEADER, channel, len(head)), head, END]
    for start in range(0, len(body), most):
        part = body[start : start + most]
        frames += FRAME.pack(BODY, channel, len(part)), part, END
    return b"".join(frames)


@lru_cache
def _publish(channel: int, exchange: str, key: str, mandatory: bool) -> bytes:
    payload = PUBLISH + _short(exchange) + _short(key) + bytes([mandatory])
    return FRAME.pack(METHOD, channel, len(payload)) + payload + END


def _short(text: str) -> bytes:
    written = text.encode()
    return bytes([len(written)]) + written  # which raises ValueError beyond 255 bytes


def size(headers: Mapping[str, Any]) -> int | None:
    """Bytes of these as they are written down; None if they cannot be."""
    try:
        return len(_table(headers))
    except NO_PROPERTIES:
        return None


def _table(given: Mapping[str, Any]) -> bytes:
    pieces: list[bytes] = []
    amqp.encode_table(pieces, given)
    return b"".join(pieces)


def read(data: bytes, at: int) -> Deliver | Confirm | None:
    """The delivery or confirm that begins there; None for something else, as for no AMQP at all.

    Raises `Incomplete`.
    """
    try:
        return _read(data, at)
    except (struct.error, IndexError):
        return None


def _read(data: bytes, at: int) -> Deliver | Confirm | None:
    kind, channel, start, end = _frame(data, at)
    method = data[start : start + 4] if kind == METHOD else b""
    if method == DELIVER:
        return _delivery(data, channel, start, end)
    if method in (ACK, NACK):
        (tag,) = EIGHT.unpack_from(data, start + 4)
        return Confirm(channel, tag, bool(data[start + 12] & 1), method == NACK, end)
    return None


def _delivery(data: bytes, channel: int, start: int, end: int) -> Deliver | None:
    tag_start = start + 5
    tag_end = tag_start + data[start + 4]
    kind, other, start, end = _frame(data, end)
    if (kind, other) != (HEADER, channel):
        return None
    (left,) = EIGHT.unpack_from(data, start + 4)
    if left > LARGE:
        return None
    properties = data[start + 12 : end - 1]
    body = b""
    while left:
        kind, other, start, end = _frame(data, end)
        if (kind, other) != (BODY, channel):
            return None
        body += data[start : end - 1]
        left -= end - 1 - start
    (tag,) = EIGHT.unpack_from(data, tag_end)
    redelivered = bool(data[tag_end + 8] & 1)
    return Deliver(channel, data[tag_start:tag_end], tag, redelivered, properties, body, end)


def _frame(data: bytes, at: int) -> tuple[int, int, int, int]:
    """The type and the channel of a frame, where its payload starts, and where the next frame begins."""
    if len(data) < at + 7:
        raise Incomplete
    kind, channel, size = FRAME.unpack_from(data, at)
    end = at + size + 8
    if len(data) < end:
        raise Incomplete
    return kind, channel, at + 7, end
