"""The frames of one delivery, read in one piece (pure): AMQP 0-9-1, sections 2.3.5 and 4.2.

A delivery is a method frame (basic.deliver), a header frame and the frames of its body; each has a type, a
channel, a size, a payload and an end mark. pika makes objects of all of them and hands them around, 30 µs a
delivery, half of what a job without work cost its worker.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

FRAME = struct.Struct(">BHI")
EIGHT = struct.Struct(">Q")
METHOD, HEADER, BODY = 1, 2, 3
DELIVER = b"\x00\x3c\x00\x3c"
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


def delivery(data: bytes, at: int) -> Deliver | None:
    """The delivery that begins there; None for something else. Raises `Incomplete`."""
    kind, channel, start, end = _frame(data, at)
    if kind != METHOD or data[start : start + 4] != DELIVER:
        return None
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
