from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

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


def test_a_kill_ends_what_was_under_way_and_keeps_what_was_committed() -> None:
    with PostgresServer() as server:
        with psycopg.connect(server.url()) as connection:
            connection.execute("create table numbers (number int)")
        under_way = psycopg.connect(server.url())
        under_way.execute("insert into numbers values (1)")
        with psycopg.connect(server.url()) as connection:
            connection.execute("insert into numbers values (2)")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            under_way.commit()
        server.start()
        with psycopg.connect(server.url()) as connection:
            assert connection.execute("select number from numbers").fetchall() == [(2,)]


def test_its_settings_can_be_chosen(tmp_path: Path) -> None:
    with (
        PostgresServer(tmp_path, statement_timeout="10ms") as server,
        psycopg.connect(server.url()) as connection,
        pytest.raises(psycopg.errors.QueryCanceled),
    ):
        connection.execute("select pg_sleep(30)")
