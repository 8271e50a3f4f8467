"""The primary dies while jobs are enqueued and run, and its replica takes its place."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from backburner import Backburner, State
from tests.faults.harness import effects, has_run, node, produce, stored, unfinished, wait_until
from tests.servers.fixtures import installed
from tests.servers.postgres import PostgresServer, Standby
from tests.servers.sentinel import RedisSentinel

JOBS = 3_000
PRODUCERS = 2
BATCH = 100
"""The most that a producer enqueues at once."""


class Redis:
    """With Sentinel, which promotes the replica by itself. What the primary had not sent yet is gone."""

    may_lose = True

    def __init__(self, folder: Path) -> None:
        self.group = installed(partial(RedisSentinel, folder)).start()
        self.url = f"{self.group.url}?patience=20"

    def fail_over(self) -> None:
        self.group.kill_primary()

    def close(self) -> None:
        self.group.close()


class Postgres:
    """With a synchronous standby, which an operator promotes. It has all that was committed."""

    may_lose = False

    def __init__(self, folder: Path) -> None:
        self.primary = installed(partial(PostgresServer, folder / "primary")).start()
        self.standby = Standby(folder / "standby", self.primary).start()
        hosts = f"127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}"
        self.url = f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write&patience=20"

    def fail_over(self) -> None:
        self.primary.kill()
        self.standby.promote()

    def close(self) -> None:
        self.standby.close()
        self.primary.close()


@pytest.fixture(params=[Redis, Postgres])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Redis | Postgres]:
    service = request.param(tmp_path / "servers")
    yield service
    service.close()


@pytest.mark.long
@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(120)
def test_no_job_is_lost_when_the_replica_takes_over(
    service: Redis | Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = Backburner(service.url)
    app.enqueue("fault_tasks.quick", 0.0)
    with (
        node(tmp_path, "--processes", "2", environment={"FAULTS_URL": service.url}) as workers,
        ThreadPoolExecutor(PRODUCERS) as threads,
    ):
        workers.wait_ready(2)
        producing = [threads.submit(produce, service.url, JOBS // PRODUCERS) for _ in range(PRODUCERS)]
        wait_until(partial(has_run, tmp_path, JOBS // 5), "jobs get done")
        service.fail_over()
        produced = [each.result() for each in producing]
        took = wait_until(lambda: unfinished(app) == 0, "the backlog is drained")
        assert workers.stop() == 0
    found = stored(app)
    app.close()
    returned = {job_id for ids, _ in produced for job_id in ids}
    seen = effects(tmp_path)
    refused, again = sum(count for _, count in produced), sum(count > 1 for count in seen.values())
    lost = returned - {job.id for job in found}
    with capsys.disabled():
        print(
            f"\n{type(service).__name__}: {len(returned)} jobs, {refused} enqueues refused, "
            f"{len(lost)} of the last before the failover gone, {again} jobs ran more than once; "
            f"drained {took:.1f} s after the last was enqueued"
        )
    assert len(returned) == JOBS
    assert len(lost) <= (PRODUCERS * BATCH if service.may_lose else 0)
    assert {job.state for job in found} == {State.SUCCEEDED}
    assert returned - lost <= seen.keys()
