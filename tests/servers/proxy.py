"""A network that can fail: a TCP proxy in front of a server, with an event loop in a thread of its own.

1. Each client's connection gets one to the server, and two carriers: one for requests, one for replies.
2. A carrier reads a piece, waits for the delay, waits until traffic flows, and hands the piece on.
3. `cut_replies(n)` arms a counter. A connection remembers what its client has sent since the server last
   answered. When the next answer to something comes while the counter is armed, the server has done the
   work; the answer is dropped, and the connection reset.
4. When one side ends, the other is told; `cut` resets both, so that the client sees a broken connection.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self, TypeVar

from tests.servers.base import free_port

T = TypeVar("T")
PIECE = 65_536
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: the connection ends with RST, not with FIN


class Connection:
    """A client's connection and ours to the server, carried by one task."""

    def __init__(self, client: StreamWriter) -> None:
        self.client = client
        self.server: StreamWriter | None = None
        self.task: asyncio.Task[None] | None = None
        self.asked = b""
        self.stranded = False

    def reset(self) -> None:
        for side in (self.client, self.server):
            if side and not side.transport.is_closing():
                side.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            if side:
                side.transport.abort()


class Proxy:
    """Forwards its own `port` of 127.0.0.1 to `target_port`; a context manager, for use from any thread.

    What a method says holds when it returns. Connections come and go with their clients.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.replies_cut = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy to {target_port}")
        self._listener: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._flows = asyncio.Event()
        self._delay = 0.0
        self._cuts = 0
        self._containing = b""

    def url(self, url: str) -> str:
        """The server's URL, by way of this proxy."""
        return url.replace(f":{self.target_port}", f":{self.port}")

    @property
    def connections(self) -> int:
        return len(self._connections)

    def refuse(self) -> None:
        """Refuse new connections; those that there are stay."""
        self._call(self._refuse())

    def accept(self) -> None:
        """Accept new connections again, on the same port."""
        self._call(self._accept())

    def cut(self) -> None:
        """Reset all connections (RST)."""
        self._call(self._cut())

    def cut_replies(self, count: int, containing: bytes = b"") -> None:
        """Let the next `count` requests with these bytes reach the server, and reset instead of replying.

        A request is what a client sends until it is answered: a new connection's greeting is one, too. Name
        a word of those that you mean.
        """
        self._call(self._set_cuts(count, containing))

    def stall(self) -> None:
        """Half-open: nothing flows and nothing closes."""
        self._call(self._set_flow(flows=False))

    def resume(self) -> None:
        self._call(self._set_flow(flows=True))

    def strand(self) -> None:
        """Half-open for ever: nothing flows on the connections that there are; new ones work."""
        self._call(self._strand())

    def delay(self, seconds: float) -> None:
        """Hold each piece so long before it is handed on, in both directions."""
        self._call(self._set_delay(seconds))

    def start(self) -> Self:
        self._thread.start()
        self._call(self._set_flow(flows=True))
        self.accept()
        return self

    def close(self) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _accept(self) -> None:
        while not self._listener:
            port = self.port or free_port()
            try:
                self._listener = await asyncio.start_server(self._connected, "127.0.0.1", port)
            except OSError:
                if self.port:
                    raise
            else:
                self.port = port

    async def _refuse(self) -> None:
        if self._listener:
            self._listener.close()
            self._listener = None

    async def _cut(self) -> None:
        tasks = [connection.task for connection in self._connections if connection.task]
        for connection in self._connections:
            connection.reset()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _set_cuts(self, count: int, containing: bytes) -> None:
        self._cuts, self._containing = count, containing

    async def _set_flow(self, *, flows: bool) -> None:
        if flows:
            self._flows.set()
        else:
            self._flows.clear()

    async def _strand(self) -> None:
        for connection in self._connections:
            connection.stranded = True

    async def _set_delay(self, seconds: float) -> None:
        self._delay = seconds

    async def _close(self) -> None:
        await self._refuse()
        await self._cut()

    def _connected(self, reader: StreamReader, writer: StreamWriter) -> None:
        connection = Connection(writer)
        self._connections.add(connection)
        connection.task = asyncio.create_task(self._serve(reader, connection))

    async def _serve(self, reader: StreamReader, connection: Connection) -> None:
        try:
            await self._flows.wait()
            replies, connection.server = await self._open()
            carriers = [
                asyncio.create_task(self._carry_requests(reader, connection, connection.server)),
                asyncio.create_task(self._carry_replies(replies, connection)),
            ]
            try:
                await asyncio.wait(carriers, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for carrier in carriers:
                    carrier.cancel()
                await asyncio.gather(*carriers, return_exceptions=True)
            for side in (connection.client, connection.server):
                side.close()  # what was carried arrives first
                with suppress(OSError):
                    await side.wait_closed()
        except OSError:
            pass  # the server is away: its client is reset below, as it would have been refused
        finally:
            connection.reset()
            self._connections.discard(connection)

    async def _open(self) -> tuple[StreamReader, StreamWriter]:
        """A connection to the server."""
        return await asyncio.open_connection("127.0.0.1", self.target_port)

    async def _carry_requests(self, reader: StreamReader, connection: Connection, to: StreamWriter) -> None:
        while piece := await self._read(reader, connection):
            connection.asked = (connection.asked + piece)[-PIECE:]
            to.write(piece)
            await to.drain()

    async def _carry_replies(self, reader: StreamReader, connection: Connection) -> None:
        while piece := await self._read(reader, connection):
            if self._cuts and connection.asked and self._containing in connection.asked:
                self._cuts -= 1
                self.replies_cut += 1
                connection.reset()
                return
            connection.asked = b""
            connection.client.write(piece)
            await connection.client.drain()

    async def _read(self, reader: StreamReader, connection: Connection) -> bytes:
        piece = await reader.read(PIECE)
        if piece:
            await asyncio.sleep(self._delay)
        await self._flows.wait()
        if connection.stranded:
            await asyncio.Event().wait()  # until it is cut
        return piece
