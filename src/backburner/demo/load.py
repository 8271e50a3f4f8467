"""The visitors of the demo: they upload photographs over HTTP and wait until every job is done.

1. A few clients at a time take the next photograph and post it; the time of each request is kept.
2. A full queue answers 503: the client comes back after the seconds in `Retry-After`.
3. Meanwhile the states of all jobs are counted through the Inspector, until each is final.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

from backburner import Backburner
from backburner.demo.services import DemoError, Services
from backburner.lifecycle import FINAL

CLIENTS = 8
TICK = 0.2
PATIENCE = 60.0


class Upload(NamedTuple):
    """A photograph that the web application accepted."""

    file: str
    job_id: str
    address: str
    seconds: float
    """How long the request took."""


class Moment(NamedTuple):
    """How far the load is."""

    uploaded: int
    counts: dict[str, int]
    """Jobs by state."""
    seconds: float
    """Since the first request."""

    @property
    def finished(self) -> int:
        return sum(self.counts.get(state, 0) for state in FINAL)


class Load(NamedTuple):
    """The outcome of a load."""

    uploads: list[Upload]
    refused: int
    seconds: float
    """From the first request until the last job was final."""


async def load(
    services: Services, app: Backburner, files: Sequence[Path], report: Callable[[Moment], None]
) -> Load:
    """Upload `files` in turn and wait until every job is final. Raises `DemoError` when nothing moves."""
    visitors = Visitors(files)
    uploading = asyncio.create_task(visitors.upload_all(services.url))
    started = moved_at = time.monotonic()
    seen: tuple[int, int] | None = None
    try:
        while True:
            services.check()
            if uploading.done():
                uploading.result()
            counts = await asyncio.to_thread(app.inspector.counts)
            now = time.monotonic()
            moment = Moment(len(visitors.uploads), counts, now - started)
            report(moment)
            if uploading.done() and moment.finished == len(visitors.uploads):
                return Load(visitors.uploads, visitors.refused, moment.seconds)
            if seen != (moment.uploaded, moment.finished):
                seen, moved_at = (moment.uploaded, moment.finished), now
            if now - moved_at > PATIENCE:
                states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
                raise DemoError(f"nothing moved for {PATIENCE:.0f} s; of {moment.uploaded} jobs: {states}")
            await asyncio.sleep(TICK)
    finally:
        uploading.cancel()


class Visitors:
    """A few clients that share one list of photographs."""

    def __init__(self, files: Sequence[Path]) -> None:
        contents = {file: file.read_bytes() for file in set(files)}
        self._left: Iterator[tuple[str, bytes]] = iter([(file.name, contents[file]) for file in files])
        self.uploads: list[Upload] = []
        self.refused = 0

    async def upload_all(self, url: str) -> None:
        """Upload every photograph. Raises `DemoError` when one is not accepted."""
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            visits = [asyncio.create_task(self._visit(client)) for _ in range(CLIENTS)]
            try:
                await asyncio.gather(*visits)
            except httpx.HTTPError as error:
                raise DemoError(f"the web application does not answer: {error!r}") from error
            finally:
                for visit in visits:
                    visit.cancel()

    async def _visit(self, client: httpx.AsyncClient) -> None:
        for name, content in self._left:
            while (upload := await self._post(client, name, content)) is None:
                self.refused += 1
            self.uploads.append(upload)

    async def _post(self, client: httpx.AsyncClient, name: str, content: bytes) -> Upload | None:
        started = time.perf_counter()
        response = await client.post("/avatar", files={"photo": (name, content, "image/jpeg")})
        seconds = time.perf_counter() - started
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            await asyncio.sleep(float(response.headers["Retry-After"]))
            return None
        if response.status_code != httpx.codes.ACCEPTED:
            raise DemoError(f"the upload of {name} was answered {response.status_code}: {response.text}")
        job = response.json()
        return Upload(name, job["id"], job["status"], seconds)
