"""The queue's memory or disk is full: new jobs are refused with the reason, and no other is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from backburner import Backburner, Job, State
from backburner.errors import BrokerUnavailable
from tests.faults.harness import (
    effects,
    is_everything_done,
    node,
    open_gate,
    started,
    stored,
    wait_until,
)
from tests.servers.disk import small_disk
from tests.servers.fixtures import installed
from tests.servers.redis import RedisServer

SHORT = {"lease": 3.0, "heartbeat": 0.5}


class Full:
    """A queue whose store can be full."""

    def __init__(self, url: str, fill: Callable[[], object], free: Callable[[], object], says: str) -> None:
        self.url, self.fill, self.free, self.says = url, fill, free, says


def redis_memory(folder: Path, all_of_them: ExitStack) -> Full:
    server = all_of_them.enter_context(installed(partial(RedisServer, folder / "server")))
    client = all_of_them.enter_context(server.client())
    return Full(
        server.url,
        lambda: client.config_set("maxmemory", "100kb"),
        lambda: client.config_set("maxmemory", "0"),
        "has reached its maxmemory; nothing was stored",
    )


def redis_disk(folder: Path, all_of_them: ExitStack) -> Full:
    disk = all_of_them.enter_context(small_disk(folder / "disk"))
    options = ("--dir", str(disk.folder), "--appendfsync", "everysec")
    server = all_of_them.enter_context(installed(partial(RedisServer, folder / "server", *options)))
    return Full(server.url, disk.fill, disk.free, "cannot write to its disk, and refuses writes")


def redis_disk_always(folder: Path, all_of_them: ExitStack) -> Full:
    """With `appendfsync always` Redis ends instead, and has to be started again."""
    disk = all_of_them.enter_context(small_disk(folder / "disk"))
    options = ("--dir", str(disk.folder), "--appendfsync", "always")
    server = all_of_them.enter_context(installed(partial(RedisServer, folder / "server", *options)))

    def free() -> None:
        disk.free()
        server.start()

    return Full(f"{server.url}?patience=1", disk.fill, free, "cannot be reached or does not answer")


def sqlite_disk(folder: Path, all_of_them: ExitStack) -> Full:
    disk = all_of_them.enter_context(small_disk(folder / "disk"))
    return Full(f"sqlite:///{disk.folder}/jobs.db", disk.fill, disk.free, "disk")


STORES = {
    "redis memory": redis_memory,
    "redis disk": redis_disk,
    "redis disk, always": redis_disk_always,
    "sqlite disk": sqlite_disk,
}


@pytest.fixture(params=STORES)
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Full]:
    with ExitStack() as all_of_them:
        yield STORES[request.param](tmp_path, all_of_them)


def is_refused(app: Backburner, says: str, taken: list[Job[object]]) -> bool:
    """Whether a job is; what was taken instead has to run."""
    try:
        taken.append(app.enqueue("fault_tasks.quick", 0.0))
    except BrokerUnavailable as error:
        return says in str(error)
    return False


def test_a_full_store_refuses_jobs_with_the_reason_and_loses_none(full: Full, tmp_path: Path) -> None:
    app = Backburner(full.url)
    jobs: list[Job[object]] = list(app.named("fault_tasks.gated").enqueue_many([("gate",)] * 10))
    with node(tmp_path, settings=SHORT, environment={"FAULTS_URL": full.url}) as workers:
        wait_until(lambda: started(tmp_path) == 10, "the jobs run")
        pids = workers.pids()
        full.fill()
        wait_until(partial(is_refused, app, full.says, jobs), "new jobs are refused, and it is said why")
        open_gate(tmp_path)
        wait_until(lambda: effects(tmp_path).total() >= 10, "what ran ends meanwhile")
        full.free()
        accepted = len(jobs)
        wait_until(lambda: is_refused(app, full.says, jobs) or len(jobs) > accepted, "jobs are taken again")
        wait_until(partial(is_everything_done, app), "all that was accepted is done")
        assert workers.pids() == pids
        assert workers.stop() == 0
    found = stored(app)
    app.close()
    assert {job.id for job in found} == {job.id for job in jobs}
    assert {(job.state, job.crashes) for job in found} == {(State.SUCCEEDED, 0)}
    assert effects(tmp_path) == {job.id: 1 for job in jobs}
