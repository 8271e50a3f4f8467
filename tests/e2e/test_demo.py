"""`backburner demo`, as a new user runs it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

DEMO = [sys.executable, "-m", "backburner", "demo"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(tmp_path), "NO_COLOR": "1", "COLUMNS": "200"}


def test_every_photo_gets_real_thumbnails_and_the_summary_adds_up(environment: dict[str, str]) -> None:
    command = [*DEMO, "--uploads", "18", "--workers", "4", "--json"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    summary = json.loads(run.stdout)

    assert (summary["uploads"], summary["succeeded"], summary["thumbnails"]) == (19, 18, 54)
    assert summary["problems"] == []
    assert summary["retries"] > 0
    assert [dead["file"] for dead in summary["dead"]] == ["not-a-photo.jpg"]
    assert "NotAPhoto" in summary["dead"][0]["reason"]
    assert 0 < summary["request_p50"] <= summary["request_p99"]
    assert summary["jobs_per_second"] == pytest.approx(19 / summary["seconds"])

    folder = Path(summary["folder"])
    sizes = []
    for path in folder.iterdir():
        with Image.open(path) as image:
            sizes.append(image.size)
    assert sorted(sizes) == [(64, 64)] * 18 + [(128, 128)] * 18 + [(512, 512)] * 18
    assert list(folder.parent.iterdir()) == [folder]  # the rest is gone


def test_serve_keeps_the_page_open_until_ctrl_c_and_then_leaves_nothing_running(
    environment: dict[str, str],
) -> None:
    command = [*DEMO, "--uploads", "6", "--serve", "--keep"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as demo:
        try:
            assert demo.stderr is not None
            line = next(line for line in demo.stderr if "stays open" in line)
            url = next(word for word in line.split() if word.startswith("http"))
            assert "<title>Avatars</title>" in httpx.get(url).text
            family = psutil.Process(demo.pid).children(recursive=True)
            assert len(family) >= 2
        finally:
            demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 0
    assert [process for process in family if process.is_running()] == []
    assert {"jobs.db", "uploads", "thumbnails"} <= {
        path.name for path in Path(_folder(environment)).iterdir()
    }


def test_a_port_that_is_taken_is_one_clear_error(environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [*DEMO, "--port", str(port)]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert f"port {port} cannot be used" in run.stderr
    assert "Traceback" not in run.stderr


def test_without_the_extra_the_error_says_what_to_install(environment: dict[str, str]) -> None:
    code = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name == "httpx" else find(name, *rest)
from backburner.cli import main
main(["demo"])
"""
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert "httpx" in run.stderr
    assert "pip install 'backburner[demo]'" in run.stderr
    assert "Traceback" not in run.stderr


def _folder(environment: dict[str, str]) -> Path:
    (folder,) = Path(environment["TMPDIR"]).glob("backburner-demo-*")
    return folder
