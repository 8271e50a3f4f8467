from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from backburner.worker.health import CLIENTS, HEAD_BYTES, Health, Status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WELL = Status(live=True, ready=True)
OUTAGE = Status(live=True, ready=False, reasons=["the broker is away for 12 s"])
STUCK = Status(live=False, ready=False, reasons=["the loop stood still for 60 s"])


@asynccontextmanager
async def served(status: Status = WELL, timeout: float = 30.0) -> AsyncIterator[int]:
    health = Health(lambda: status, timeout)
    try:
        yield await health.start("127.0.0.1", 0)
    finally:
        await health.stop()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ask(port: int, request: str) -> tuple[int, dict[str, str], bytes]:
    async with connected(port) as (reader, writer):
        writer.write(request.encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


async def get(port: int, path: str) -> tuple[int, Any]:
    code, headers, body = await ask(port, f"GET {path} HTTP/1.1\r\nHost: worker\r\n\r\n")
    assert headers["Content-Type"] == "application/json"
    assert int(headers["Content-Length"]) == len(body)
    return code, json.loads(body)


@pytest.mark.parametrize(
    ("status", "live", "ready"), [(WELL, 200, 200), (OUTAGE, 200, 503), (STUCK, 503, 503)]
)
async def test_a_probe_is_told_the_state_and_why(status: Status, live: int, ready: int) -> None:
    async with served(status) as port:
        assert await get(port, "/live") == (live, {"live": status.live, "reasons": status.reasons})
        assert await get(port, "/ready") == (ready, {"ready": status.ready, "reasons": status.reasons})


async def test_status_shows_everything_and_is_always_200() -> None:
    since = datetime(2030, 1, 2, tzinfo=UTC)
    async with served(Status(live=False, ready=False, details={"running": 3, "since": since})) as port:
        code, body = await get(port, "/status")
    assert code == 200
    assert body["live"] is False
    assert body["details"] == {"running": 3, "since": "2030-01-02T00:00:00Z"}


async def test_head_answers_as_get_without_the_body() -> None:
    async with served(OUTAGE) as port:
        code, headers, body = await ask(port, "HEAD /ready HTTP/1.1\r\n\r\n")
        _, expected = await get(port, "/ready")
    assert (code, body) == (503, b"")
    assert int(headers["Content-Length"]) == len(msgspec.json.encode(expected)) + 1


@pytest.mark.parametrize(
    ("request_line", "code"),
    [
        ("GET /live?verbose=1 HTTP/1.0", 200),
        ("GET http://worker/live HTTP/1.1", 200),
        ("GET / HTTP/1.1", 404),
        ("GET /live/../status HTTP/1.1", 404),
        ("POST /live HTTP/1.1\r\nContent-Length: 5", 405),
        ("get /live HTTP/1.1", 405),
        ("GET /live", 400),
        ("GET  /live HTTP/1.1", 400),
        ("GET http://[/live HTTP/1.1", 400),
        ("GET /l\u00efve HTTP/1.1", 400),
        ("PRI * HTTP/2.0", 400),
        ("", 400),
        (f"GET /live HTTP/1.1\r\nCookie: {'x' * HEAD_BYTES}", 431),
    ],
)
async def test_other_requests_are_refused_with_a_reason(request_line: str, code: int) -> None:
    async with served() as port:
        answer, headers, body = await ask(port, f"{request_line}\r\n\r\n")
        assert answer == code
        assert headers["Allow"] == "GET, HEAD"
        assert (json.loads(body)["reasons"] != []) == (code != 200)
        assert (await get(port, "/live"))[0] == 200


@pytest.mark.parametrize("sent", [b"", b"GET /li", b"GET /live HTTP/1.1\r\nX: 1\r\n"])
async def test_a_client_that_does_not_finish_its_request_is_cut(sent: bytes) -> None:
    async with served(timeout=0.1) as port, connected(port) as (reader, writer):
        writer.write(sent)
        assert await answer(reader) == b""


async def test_a_client_that_leaves_early_harms_nothing() -> None:
    async with served() as port:
        async with connected(port) as (_, writer):
            writer.write(b"GET /li")
        assert (await get(port, "/live"))[0] == 200


async def test_a_probe_gets_through_while_others_hold_every_connection() -> None:
    async with served() as port:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CLIENTS)]
        try:
            assert (await get(port, "/ready"))[0] == 200
            assert await answer(idle[0][0]) == b""  # the oldest made room
            idle[-1][1].write(b"GET /live HTTP/1.1\r\n\r\n")
            assert (await answer(idle[-1][0])).startswith(b"HTTP/1.1 200 ")
        finally:
            for _, writer in idle:
                writer.transport.abort()


async def test_a_status_that_cannot_be_read_is_an_error_in_the_answer_and_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def status() -> Status:
        raise LookupError("no such gauge")

    health = Health(status)
    port = await health.start("127.0.0.1", 0)
    code, body = await get(port, "/live")
    await health.stop()
    assert code == 500
    assert "no such gauge" in body["reasons"][0]
    assert "no such gauge" in caplog.text


async def test_stopping_cuts_the_clients_and_frees_the_port() -> None:
    health = Health(lambda: WELL)
    await health.stop()  # never started: nothing to do
    port = await health.start("127.0.0.1", 0)
    async with connected(port) as (reader, writer):
        writer.write(b"GET /live")
        await get(port, "/live")
        await health.stop()
        assert await answer(reader) == b""
    async with served() as other:
        taken = Health(lambda: WELL)
        with pytest.raises(OSError, match="in use"):
            await taken.start("127.0.0.1", other)
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", port)


async def answer(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the server ends the connection, by a reset or not."""
    received = b""
    try:
        while part := await reader.read(HEAD_BYTES):
            received += part
    except ConnectionResetError:
        return received
    return received
