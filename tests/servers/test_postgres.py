from __future__ import annotations

from pathlib import Path

import psycopg

from tests.servers.postgres import PostgresServer


def test_data_survives_a_kill(tmp_path: Path) -> None:
    with PostgresServer(tmp_path) as server:
        with psycopg.connect(server.url()) as connection:
            connection.execute("create table words as select 'kept' as word")
        pid, url = server.pid, server.url()
        server.kill()
        server.start()
        assert server.url() == url
        assert server.pid != pid
        with psycopg.connect(server.url()) as connection:
            assert connection.execute("select word from words").fetchall() == [("kept",)]


def test_it_is_as_durable_as_by_default(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.url()) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"show {setting}").fetchone() == ("on",)
        assert connection.execute("show server_encoding").fetchone() == ("UTF8",)
