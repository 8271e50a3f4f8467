"""Liveness and readiness over HTTP, for an orchestrator's probes.

``GET /live`` and ``GET /ready`` answer 200 or 503 with the reasons; ``GET /status`` answers 200 with all that
is known; everything is JSON, and ``HEAD`` works too. No client can hold the worker up: each connection
carries one request and is cut after `timeout` seconds, a request's head has a limit, and when more than
CLIENTS are connected the oldest is cut, so that a probe gets through while others keep the port busy.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD_BYTES = 8192  # of a request line and its headers
CLIENTS = 64
PHRASES = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

logger = logging.getLogger(__name__)


class Status(msgspec.Struct, frozen=True):
    """What a worker says of itself. `reasons` tells why it is not live or not ready."""

    live: bool
    ready: bool
    reasons: list[str] = []
    details: dict[str, Any] = {}


class Health:
    """A server of what `status` returns; it is called on the loop, once a request."""

    def __init__(self, status: Callable[[], Status], timeout: float = 5.0) -> None:
        self._status = status
        self._timeout = timeout
        self._clients: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port, which is a free one for 0. OSError when it is taken."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=HEAD_BYTES)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Stop listening and cut whoever is connected."""
        if self._server is None:
            return
        self._server.close()
        for writer in self._clients.values():
            writer.transport.abort()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients[task] = writer
        if len(self._clients) > CLIENTS:
            next(iter(self._clients.values())).transport.abort()
        try:
            async with asyncio.timeout(self._timeout):
                writer.write(await self._answer(reader))
                writer.write_eof()
                # Closing with something unread would reset the connection, and the answer might be lost.
                for _ in range(8):
                    if not await reader.read(HEAD_BYTES):
                        break
        except (OSError, EOFError) as error:
            logger.debug("a health check's client was too slow, or went away: %r", error)
        finally:
            writer.transport.abort()
            del self._clients[task]

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, version = head.partition(b"\r\n")[0].decode("ascii").split(" ")
            path = urlsplit(target).path
        except asyncio.LimitOverrunError:
            return _response(431, {"reasons": [f"a request's headers may have {HEAD_BYTES} bytes"]})
        except ValueError:
            return _response(400, {"reasons": ["this is not an HTTP request"]})
        if not version.startswith("HTTP/1."):
            return _response(400, {"reasons": ["only HTTP/1.0 and HTTP/1.1 are spoken here"]})
        if path not in {"/live", "/ready", "/status"}:
            code, body = 404, {"reasons": ["ask for /live, /ready or /status"]}
        elif method not in {"GET", "HEAD"}:
            code, body = 405, {"reasons": ["ask with GET or HEAD"]}
        else:
            code, body = self._report(path[1:])
        return _response(code, body, with_body=method != "HEAD")

    def _report(self, page: str) -> tuple[int, dict[str, Any]]:
        try:
            status = msgspec.structs.asdict(self._status())
        except Exception as error:
            logger.exception("the worker's status cannot be read")
            return 500, {"reasons": [f"the status cannot be read: {error!r}"]}
        if page == "status":
            return 200, status
        return 200 if status[page] else 503, {page: status[page], "reasons": status["reasons"]}


def _response(code: int, body: dict[str, Any], *, with_body: bool = True) -> bytes:
    payload = msgspec.json.encode(body, enc_hook=str) + b"\n"
    head = (
        f"HTTP/1.1 {code} {PHRASES[code]}",
        "Content-Type: application/json",
        f"Content-Length: {len(payload)}",
        "Allow: GET, HEAD",
        "Cache-Control: no-store",
        "Connection: close",
    )
    return "\r\n".join([*head, "", ""]).encode() + (payload if with_body else b"")
