"""PostgreSQL ends sessions and statements while jobs are enqueued and run, or has no connection left."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import psycopg
import pytest

from backburner import Backburner, State
from backburner.errors import BrokerUnavailable
from tests.faults.harness import effects, has_run, node, produce, stored, unfinished, wait_until
from tests.servers.fixtures import installed
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresServer

JOBS = 2_000
ENDS = 10
TERMINATE = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE usename = 'postgres' AND pid <> pg_backend_pid()"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PostgresServer]:
    with installed(partial(PostgresServer, tmp_path / "server", max_connections=20)) as server:
        server.execute("CREATE ROLE app LOGIN SUPERUSER")
        yield server


@pytest.fixture(params=["direct", "pgbouncer"])
def url(request: pytest.FixtureRequest, server: PostgresServer, tmp_path: Path) -> Iterator[str]:
    with ExitStack() as all_of_them:
        way: PostgresServer | PgBouncer = server
        if request.param == "pgbouncer":
            pooler = partial(PgBouncer, tmp_path / "pooler", server, default_pool_size=5)
            way = all_of_them.enter_context(installed(pooler))
        yield f"{way.url()}?patience=20"


def assert_all_are_done(app: Backburner, folder: Path, returned: list[str]) -> None:
    wait_until(lambda: unfinished(app) == 0, "the backlog is drained")
    found = stored(app)
    assert set(returned) <= {job.id for job in found}
    assert {job.state for job in found} == {State.SUCCEEDED}
    assert {job.id for job in found} == effects(folder).keys()


@pytest.mark.long
@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(120)
def test_no_job_is_lost_when_all_sessions_are_ended_again_and_again(
    url: str, server: PostgresServer, tmp_path: Path
) -> None:
    app = Backburner(url)
    app.enqueue("fault_tasks.quick", 0.0)
    with (
        node(tmp_path, "--processes", "2", environment={"FAULTS_URL": url}) as workers,
        ThreadPoolExecutor(1) as thread,
    ):
        workers.wait_ready(2)
        pids = workers.pids()
        producing = thread.submit(produce, url, JOBS)
        ended = 0
        for number in range(1, ENDS + 1):
            wait_until(partial(has_run, tmp_path, number * JOBS // (ENDS + 2)), "jobs get done")
            ended += server.execute(TERMINATE)
        assert ended >= ENDS
        assert_all_are_done(app, tmp_path, producing.result()[0])
        # A worker that waits has lost its session, too: it hears of new work all the same.
        server.execute(TERMINATE)
        late = [app.enqueue("fault_tasks.quick", 0.0).id]
        assert_all_are_done(app, tmp_path, late)
        assert workers.pids() == pids
        assert workers.stop() == 0
    app.close()


@pytest.mark.long
@pytest.mark.xdist_group("heavy")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("limit", ["statement_timeout = '30ms'", "lock_timeout = '10ms'"])
def test_limits_of_the_role_cost_time_and_no_job(limit: str, server: PostgresServer, tmp_path: Path) -> None:
    """Another program locks the jobs for longer, again and again, while they are enqueued and run."""
    url = f"{server.url().replace('postgres@', 'app@')}?patience=20"
    app = Backburner(url)
    app.enqueue("fault_tasks.quick", 0.0)
    server.execute(f"ALTER ROLE app SET {limit}")
    with (
        node(tmp_path, environment={"FAULTS_URL": url}) as workers,
        ThreadPoolExecutor(1) as thread,
        psycopg.connect(server.url()) as intruder,
    ):
        workers.wait_ready()
        producing = thread.submit(produce, url, JOBS // 4)
        for number in range(5):
            wait_until(partial(has_run, tmp_path, number * JOBS // 40), "jobs get done")
            refused = server.said().count("canceling statement")
            intruder.execute("LOCK TABLE backburner.jobs")
            wait_until(partial(says_more, server, refused), "a statement is ended by the limit")
            intruder.rollback()
        assert_all_are_done(app, tmp_path, producing.result()[0])
        assert workers.stop() == 0
    app.close()


def says_more(server: PostgresServer, than: int) -> bool:
    return server.log.read_text().count("canceling statement") > than


@pytest.mark.long
@pytest.mark.xdist_group("heavy")
def test_a_server_without_a_free_connection_is_waited_for(server: PostgresServer, tmp_path: Path) -> None:
    url = f"{server.url().replace('postgres@', 'app@')}?patience=1"
    app = Backburner(url)
    app.enqueue("fault_tasks.quick", 0.0)
    app.close()
    server.execute("ALTER ROLE app NOSUPERUSER")
    server.execute("GRANT ALL ON SCHEMA backburner TO app")
    server.execute("GRANT ALL ON ALL TABLES IN SCHEMA backburner TO app")
    with ExitStack() as crowd:
        for _ in range(17):  # the last three of the 20 are kept for superusers
            crowd.enter_context(psycopg.connect(server.url().replace("postgres@", "app@")))
        with node(tmp_path, environment={"FAULTS_URL": url}) as workers:
            workers.wait_said("too many connections")
            producer = Backburner(url)
            with pytest.raises(BrokerUnavailable, match=r"too many connections.*raise max_connections"):
                producer.enqueue("fault_tasks.quick", 0.0)
            crowd.close()
            job = producer.enqueue("fault_tasks.quick", 0.0)
            assert_all_are_done(producer, tmp_path, [job.id])
            assert workers.stop() == 0
            producer.close()
