"""What a worker process had started, told by the memory that it shared."""

from __future__ import annotations

import os

import pytest

from backburner.worker.blackbox import BlackBox

IDS = ["01a22154-4c0b-7ad9-addc-6c03acb41a9f", "", "short", "x" * 37, "x" * 300, "ü" * 18, "ü" * 30]
"""Those of strangers, too: RabbitMQ takes an id of up to 255 bytes."""


@pytest.mark.parametrize("job_id", IDS)
def test_a_job_is_found_whatever_its_id(job_id: str) -> None:
    box, descriptor = BlackBox.make(2)
    os.close(descriptor)
    others = [each for each in IDS if each != job_id]
    slot = box.start(job_id)
    assert job_id in box.started() or not job_id
    assert not [each for each in others if each in box.started()]
    box.end(slot)
    assert job_id not in box.started()
    box.close()


def test_it_needs_no_file_that_only_some_systems_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    box, descriptor = BlackBox.make(1)
    shared = BlackBox(descriptor, 1)
    box.start("a")
    assert "a" in shared.started()
    for each in (box, shared):
        each.close()
    os.close(descriptor)
