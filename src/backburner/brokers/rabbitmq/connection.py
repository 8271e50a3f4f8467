"""pika's connection, with short ways for what there is most of.

1. Writing: pika gives each frame to the socket by itself, four system calls a job, which took half of the
   time. Here all frames of one turn of the event loop go out together.
2. Reading: deliveries for the consumers in `direct`, and confirms for the channels in `confirms`, are read
   by `wire.py`. Everything else is pika's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pika import exceptions
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils.io_services_utils import _AsyncPlaintextTransport as PlainTransport

from backburner.brokers.rabbitmq.wire import Confirm, Deliver, Incomplete, properties, read

Deliveries = Callable[[Any, Deliver, Any, bytes], None]
"""Called with the channel, what was delivered, its properties and its body."""
Confirms = Callable[[Confirm], None]


class Connection(AsyncioConnection):  # type: ignore[misc]  # pika has no types
    """A connection on the running event loop."""

    def __init__(self, *given: Any, **named: Any) -> None:
        self._written: list[bytes] = []
        self.direct: dict[tuple[int, bytes], tuple[Any, Deliveries]] = {}
        """By channel number and consumer tag: the channel, and who takes its deliveries."""
        self.confirms: dict[int, Confirms] = {}
        """By channel number: who hears what was confirmed there."""
        super().__init__(*given, **named)

    # Writing -----------------------------------------------------------------------------------------

    @property
    def most(self) -> int:
        """Bytes of a body that fit into one frame."""
        return int(self._body_max_length)

    def send(self, frames: bytes) -> None:
        """Frames that were written without pika."""
        self._output_marshaled_frames([frames])

    def _adapter_emit_data(self, data: bytes) -> None:
        if not self._written:
            asyncio.get_running_loop().call_soon(self._flush)
        self._written.append(data)

    def _adapter_disconnect_stream(self) -> None:
        self._flush()
        super()._adapter_disconnect_stream()

    def cut(self) -> None:
        """End it without a word: its server stands still, or has an alarm, and reads no goodbye."""
        self._written.clear()
        if self._transport is not None:
            # pika takes an end that has no reason for a mistake of its own, and stays open for ever.
            self._terminate_stream(None if self._error else exceptions.StreamLostError("given up: no answer"))

    def leave(self) -> None:
        """Close it at once, with a goodbye that waits for no answer: its event loop may be about to end."""
        if self.is_open:
            self.close()
            self._flush()
        self.cut()
        self.abandon()

    def abandon(self) -> None:
        """Close the socket, also where the event loop was closed."""
        if self._transport is not None:
            self._transport._sock.close()

    def _flush(self) -> None:
        written, self._written = self._written, []
        if not written or self._transport is None:  # it may have ended in this turn
            return
        super()._adapter_emit_data(b"".join(written))
        if isinstance(self._transport, PlainTransport):
            self._transport._on_socket_writable()  # without a turn of the loop, to hear that it is

    # Reading -----------------------------------------------------------------------------------------

    def _on_data_available(self, data_in: bytes) -> None:
        if not (self.direct or self.confirms):
            super()._on_data_available(data_in)
            return
        self._frame_buffer += data_in
        while not self._take():
            used, frame = self._read_frame()
            if not frame:
                return
            self._trim_frame_buffer(used)
            self._process_frame(frame)

    def _take(self) -> bool:
        """Hand on what `wire.py` reads at the front; whether nothing else can be done with what has come."""
        data, at, more = self._frame_buffer, 0, False
        try:
            while at < len(data) and (found := read(data, at)) is not None:
                if not self._hand_on(found):
                    break
                at = found.end
        except Incomplete:
            more = True
        self._trim_frame_buffer(at)
        return more or at == len(data)

    def _hand_on(self, found: Deliver | Confirm) -> bool:
        """Whether somebody takes it."""
        if isinstance(found, Confirm):
            if (hear := self.confirms.get(found.channel)) is None:
                return False
            self.frames_received += 1
            hear(found)
        else:
            if (target := self.direct.get((found.channel, found.consumer_tag))) is None:
                return False
            self.frames_received += 3
            channel, take = target
            take(channel, found, properties(found.properties), found.body)
        return True
