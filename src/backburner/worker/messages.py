"""What a supervisor and its worker processes say to each other, as JSON lines over a socket pair."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from backburner import events
from backburner.errors import BackburnerError
from backburner.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from backburner.events import Event


class Hello(msgspec.Struct, tag=True):
    """From the worker process: its code is loaded."""

    settings: Settings
    queues: tuple[str, ...]
    tasks: tuple[str, ...]
    concurrency: int


class Refused(msgspec.Struct, tag=True):
    """From the worker process: it cannot start, and why; the exit code is that of the whole command."""

    error: str
    exit_code: int


class Pulse(msgspec.Struct, tag=True):
    """From the worker process, once a second: its event loop answers."""

    running: int
    finished: int
    connected: bool
    full: tuple[str, ...] = ()
    """The tasks that it has no free slot for."""
    idle: bool = False
    """Nothing runs there, and two looks in a row have found nothing."""


class Outgrown(msgspec.Struct, tag=True):
    """From the worker process: it has done its share of jobs, or holds too much memory; replace it."""

    why: str


class Start(msgspec.Struct, tag=True):
    """To the worker process: its lease begins under this id."""

    worker_id: str


class StopNow(msgspec.Struct, tag=True):
    """To the worker process: end within `grace` seconds. Sent again with less to hurry."""

    grace: float


class Quiet(msgspec.Struct, tag=True):
    """To the worker process: claim nothing more (or claim again)."""

    quiet: bool


class CancelJobs(msgspec.Struct, tag=True):
    """To the worker process: stop these jobs for good."""

    reasons: dict[str, str]


class Lost(msgspec.Struct, tag=True):
    """To the worker process: its lease has gone to others; it goes on under a new id."""

    worker_id: str


class Told(msgspec.Struct, tag=True):
    """To one worker process: an event of the supervisor, where no user code runs, for the app's handlers."""

    kind: str
    fields: msgspec.Raw

    @classmethod
    def of(cls, event: Event) -> Told:
        return cls(type(event).__name__, msgspec.Raw(msgspec.json.encode(event)))

    def event(self) -> Event:
        kind: type[Event] = getattr(events, self.kind)
        return msgspec.json.decode(self.fields, type=kind)


FromChild = Hello | Refused | Pulse | Outgrown
ToChild = Start | StopNow | Quiet | CancelJobs | Lost | Told
Message = FromChild | ToChild

_decoder = msgspec.json.Decoder(Message)


def _read(line: bytes) -> Message:
    try:
        message: Message = _decoder.decode(line)
    except (BackburnerError, RecursionError) as error:  # settings that are none, or lists within lists
        raise ValueError(f"a message that nobody can read: {error}") from error
    return message


class Line:
    """One end of the conversation."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, message: Message) -> None:
        if not self._writer.is_closing():
            self._writer.write(msgspec.json.encode(message) + b"\n")

    async def messages(self) -> AsyncIterator[Message]:
        """What the other end says, until it is gone. Raises `DecodeError` or `ValueError` for nonsense."""
        try:
            while line := await self._reader.readline():
                yield _read(line)
        except ConnectionError:
            return

    async def close(self) -> None:
        """Send what is left, and hang up."""
        with suppress(ConnectionError):
            await self._writer.drain()
        self.hang_up()

    def hang_up(self) -> None:
        self._writer.close()
