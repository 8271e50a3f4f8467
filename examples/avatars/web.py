"""The web application. Start it with `uvicorn avatars.web:site`.

1. `POST /avatar` saves the upload, enqueues a job with its id and answers 202 with the job's address.
2. `GET /jobs/{id}` says how the job stands; with `?wait=20` as soon as it is done, in 20 s at the latest.
3. `GET /` is the page, `GET /thumbnails/...` what the worker made.
"""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Message, Receive

from backburner import JobCancelled, JobFailed, JobNotFound, QueueFull, ResultTimeout

from .tasks import SIZES, app, make_thumbnails, storage

MAX_UPLOAD = 20 * 1024 * 1024
MAX_WAIT = 25.0
TYPES = ("image/jpeg", "image/png", "image/webp")


async def upload(request: Request) -> Response:
    request = Request(request.scope, at_most(MAX_UPLOAD, request.receive))
    async with request.form(max_files=1, max_fields=0) as form:
        photo = form.get("photo")
        if not isinstance(photo, UploadFile):
            raise HTTPException(400, "Send one file in the form field 'photo'.")
        if photo.content_type not in TYPES:
            raise HTTPException(415, f"{photo.content_type} is not one of {', '.join(TYPES)}.")
        photo_id = uuid4()
        await run_in_threadpool(storage.save_upload, photo_id, photo.file)
    try:
        job = await make_thumbnails.aenqueue(photo_id)
    except QueueFull as full:
        await run_in_threadpool(storage.delete_upload, photo_id)
        retry_after = str(math.ceil(full.retry_after))
        raise HTTPException(503, "Too many photos are waiting.", {"Retry-After": retry_after}) from full
    address = f"/jobs/{job.id}"
    return JSONResponse({"id": job.id, "status": address}, 202, {"Location": address})


async def status(request: Request) -> Response:
    job = await app.ajob(request.path_params["job_id"])
    names: list[str] = []
    error = None
    try:
        with suppress(ResultTimeout):  # not done yet, as its state says
            names = await job.aresult(timeout=wait_of(request))
    except JobFailed as failed:
        error = (failed.error or failed.reason).rpartition(".")[2]
    except JobCancelled:
        error = "Cancelled"
    thumbnails = [
        {"size": size, "url": f"/thumbnails/{name}"} for size, name in zip(SIZES, names, strict=False)
    ]
    answer = {"id": job.id, "state": job.state, "attempt": job.record.attempt}
    return JSONResponse({**answer, "thumbnails": thumbnails, "error": error})


def wait_of(request: Request) -> float:
    """Seconds that the browser is ready to wait, from `?wait=`."""
    try:
        wait = float(request.query_params.get("wait", "0"))
    except ValueError:
        wait = math.nan
    if not 0 <= wait <= MAX_WAIT:
        raise HTTPException(400, f"wait takes seconds from 0 to {MAX_WAIT:g}.")
    return wait


def at_most(limit: int, receive: Receive) -> Receive:
    """`receive`, until the body grows over `limit` bytes. A Content-Length is a claim; this counts."""
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise HTTPException(413, f"A photo has at most {limit // 1024 // 1024} MB.")
        return message

    return counted


async def problem(_request: Request, error: Exception) -> Response:
    """Every refusal as JSON, so that the page can show it."""
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def no_such_job(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"error": "No such job, or it finished long ago."}, 404)


site = Starlette(
    routes=[
        Route("/avatar", upload, methods=["POST"]),
        Route("/jobs/{job_id}", status),
        Mount("/thumbnails", StaticFiles(directory=storage.thumbnails)),
        Mount("/", StaticFiles(directory=Path(__file__).parent / "static", html=True)),
    ],
    exception_handlers={HTTPException: problem, JobNotFound: no_such_job},
)
