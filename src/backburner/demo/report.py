"""What the demo says at the end, after it has looked at every job and every thumbnail."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from pathlib import Path

import httpx
import msgspec
from PIL import Image

from backburner import Backburner
from backburner.demo.load import Load, Upload

CLIENTS = 8


class DeadJob(msgspec.Struct):
    """One dead letter."""

    file: str
    job: str
    reason: str


class Summary(msgspec.Struct):
    """The figures of one run; times in seconds."""

    uploads: int
    refused: int
    """Requests that were answered 503 and came again."""
    request_p50: float
    request_p99: float
    seconds: float
    jobs_per_second: float
    succeeded: int
    retries: int
    dead: list[DeadJob]
    thumbnails: int
    folder: str
    problems: list[str]
    """What should not have happened; a good run has none."""


class Outcome(msgspec.Struct):
    """The answer of the web application about one job."""

    id: str
    state: str
    attempt: int
    thumbnails: list[dict[str, str | int]]
    error: str | None


def summarize(url: str, app: Backburner, done: Load, folder: Path) -> Summary:
    """Ask how each job ended, open each thumbnail, and add it all up."""
    outcomes = asyncio.run(_ask(url, done.uploads))
    problems: list[str] = []
    dead: list[DeadJob] = []
    thumbnails = 0
    for upload, outcome in zip(done.uploads, outcomes, strict=True):
        expected = "dead" if upload.file == "not-a-photo.jpg" else "succeeded"
        if outcome.state != expected:
            problems.append(f"{upload.file}: job {outcome.id} is {outcome.state}, not {expected}")
        if outcome.state == "dead":
            last = app.inspector.history(outcome.id)[-1]
            dead.append(DeadJob(upload.file, outcome.id, f"{outcome.error}: {last.message}"))
        for thumbnail in outcome.thumbnails:
            thumbnails += 1
            problems += _look_at(folder / Path(str(thumbnail["url"])).name, int(thumbnail["size"]))
        if outcome.state == "succeeded" and len(outcome.thumbnails) != 3:
            problems.append(f"{upload.file}: job {outcome.id} made {len(outcome.thumbnails)} thumbnails")
    times = statistics.quantiles([upload.seconds for upload in done.uploads], n=100, method="inclusive")
    return Summary(
        uploads=len(outcomes),
        refused=done.refused,
        request_p50=times[49],
        request_p99=times[98],
        seconds=done.seconds,
        jobs_per_second=len(outcomes) / done.seconds,
        succeeded=sum(outcome.state == "succeeded" for outcome in outcomes),
        retries=sum(max(0, outcome.attempt - 1) for outcome in outcomes),
        dead=dead,
        thumbnails=thumbnails,
        folder=str(folder),
        problems=problems,
    )


async def _ask(url: str, uploads: Sequence[Upload]) -> list[Outcome]:
    turn = asyncio.Semaphore(CLIENTS)
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:

        async def ask(upload: Upload) -> Outcome:
            async with turn:
                response = await client.get(upload.address)
            return msgspec.json.decode(response.raise_for_status().content, type=Outcome)

        return await asyncio.gather(*map(ask, uploads))


def _look_at(path: Path, size: int) -> list[str]:
    """Open a thumbnail and say what is wrong with it, if anything."""
    try:
        with Image.open(path) as image:
            image.load()
            found = (image.format, image.mode, image.size)
    except OSError as error:
        return [f"{path.name}: {error}"]
    expected = ("JPEG", "RGB", (size, size))
    return [] if found == expected else [f"{path.name} is {found}, not {expected}"]
