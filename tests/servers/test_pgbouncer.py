from __future__ import annotations

import psycopg

from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgresServer


def test_one_connection_of_the_server_serves_many_clients(postgres_server: PostgresServer) -> None:
    with (
        PgBouncer(None, postgres_server, default_pool_size=1) as bouncer,
        psycopg.connect(bouncer.url(), autocommit=True) as first,
        psycopg.connect(bouncer.url(), autocommit=True) as second,
    ):
        backends = [each.execute("select pg_backend_pid()").fetchone() for each in (first, second)]
        assert backends[0] == backends[1]


def test_it_finds_the_server_again_after_a_kill(pgbouncer: PgBouncer) -> None:
    with psycopg.connect(pgbouncer.url()) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    assert isinstance(pgbouncer.server, PostgresServer)
    pgbouncer.server.kill()
    pgbouncer.server.start()
    pgbouncer.kill()
    pgbouncer.start()
    with psycopg.connect(pgbouncer.url()) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
