"""The example application over HTTP, with a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, ImageChops, ImageOps, ImageStat

from backburner.demo.services import Services, example_folder

PHOTOS = example_folder() / "photos"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Services]:
    """The web application, without a worker, with room for two waiting photos."""
    with Services(tmp_path, {"AVATARS_MAX_WAITING": "2"}) as services:
        services.start_web()
        yield services


@pytest.fixture
def client(site: Services) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, timeout=30) as client:
        yield client


def upload(client: httpx.Client, name: str, kind: str = "image/jpeg") -> httpx.Response:
    return client.post("/avatar", files={"photo": (name, (PHOTOS / name).read_bytes(), kind)})


def outcome(client: httpx.Client, accepted: httpx.Response, wait: int = 20) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(accepted.headers["Location"], params={"wait": wait}).json()
    return answer


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures, from 0 to 255."""
    return max(ImageStat.Stat(ImageChops.difference(one, other)).mean)


def test_an_upload_is_answered_before_any_worker_runs_and_becomes_upright_thumbnails(
    site: Services, client: httpx.Client
) -> None:
    accepted = upload(client, "dogs.jpg")  # stored sideways, with an EXIF orientation
    assert accepted.status_code == 202
    assert outcome(client, accepted, wait=0)["state"] == "queued"

    site.start_worker(2)
    job = outcome(client, accepted)

    assert (job["state"], job["error"]) == ("succeeded", None)
    assert [thumbnail["size"] for thumbnail in job["thumbnails"]] == [64, 128, 512]
    with Image.open(PHOTOS / "dogs.jpg") as original:
        upright = ImageOps.exif_transpose(original).convert("RGB")
        sideways = original.convert("RGB")
    for thumbnail in job["thumbnails"]:
        side = thumbnail["size"]
        with Image.open(BytesIO(client.get(thumbnail["url"]).content)) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (side, side))
            assert not image.getexif()
            assert difference(image, ImageOps.fit(upright, image.size)) < 5
            assert difference(image, ImageOps.fit(sideways, image.size)) > 20


def test_a_file_that_is_no_photo_is_dead_at_once_and_says_why(site: Services, client: httpx.Client) -> None:
    site.start_worker(1)
    job = outcome(client, upload(client, "not-a-photo.jpg"))
    assert (job["state"], job["error"], job["attempt"]) == ("dead", "NotAPhoto", 1)
    assert job["thumbnails"] == []


def test_transparent_pictures_get_a_white_background(site: Services, client: httpx.Client) -> None:
    site.start_worker(1)
    png = BytesIO()
    Image.new("RGBA", (300, 200), (0, 0, 0, 0)).save(png, "PNG")
    job = outcome(client, client.post("/avatar", files={"photo": ("glass.png", png.getvalue(), "image/png")}))
    with Image.open(BytesIO(client.get(job["thumbnails"][0]["url"]).content)) as image:
        assert image.getpixel((32, 32)) == (255, 255, 255)


def test_a_full_queue_answers_503_says_when_to_come_back_and_keeps_nothing(
    client: httpx.Client, tmp_path: Path
) -> None:
    assert [upload(client, "cat.jpg").status_code for _ in range(2)] == [202, 202]
    refused = upload(client, "cat.jpg")
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) >= 1
    assert len(list((tmp_path / "uploads").iterdir())) == 2


def test_what_is_no_upload_of_a_photo_is_refused(client: httpx.Client, tmp_path: Path) -> None:
    assert client.post("/avatar").status_code == 400
    assert client.post("/avatar", files={"other": b"x"}).status_code == 400
    assert client.post("/avatar", data={"photo": "x"}).status_code == 400
    assert upload(client, "not-a-photo.jpg", "text/plain").status_code == 415
    assert list((tmp_path / "uploads").iterdir()) == []


@pytest.mark.parametrize("told", [True, False], ids=["by its Content-Length", "by what arrives"])
def test_an_upload_over_the_limit_is_refused(client: httpx.Client, tmp_path: Path, told: bool) -> None:
    head = (
        b"--edge\r\nContent-Disposition: form-data; name=photo; filename=x.jpg\r\n"
        b"Content-Type: image/jpeg\r\n\r\n"
    )
    body = [head, *[b"x" * 1024 * 1024] * 21, b"\r\n--edge--\r\n"]
    content = b"".join(body) if told else iter(body)
    refused = client.post(
        "/avatar", content=content, headers={"Content-Type": "multipart/form-data; boundary=edge"}
    )
    assert (refused.status_code, refused.json()) == (413, {"error": "A photo has at most 20 MB."})
    assert list((tmp_path / "uploads").iterdir()) == []


def test_questions_about_jobs_that_cannot_be_answered_are_refused(client: httpx.Client) -> None:
    assert client.get("/jobs/01234567-89ab-7def-8123-456789abcdef").status_code == 404
    accepted = upload(client, "cat.jpg")
    assert client.get(accepted.headers["Location"], params={"wait": "soon"}).status_code == 400
    assert client.get(accepted.headers["Location"], params={"wait": 3600}).status_code == 400


def test_the_files_of_the_application_are_out_of_reach(client: httpx.Client) -> None:
    assert client.get("/").status_code == 200
    for path in ("/thumbnails/../jobs.db", "/thumbnails/%2e%2e/jobs.db", "/..%2fweb.py", "/web.py"):
        assert client.get(path).status_code == 404
