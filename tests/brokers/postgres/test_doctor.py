"""What `backburner doctor` finds, and what it tells a person to do."""

from __future__ import annotations

from urllib.parse import quote

import psycopg
import pytest

from backburner.brokers.postgres.broker import PostgresBroker
from backburner.doctor import Check, Level
from tests.brokers.postgres.conftest import add, schema_of, sql
from tests.servers.pgbouncer import PgBouncer


def found(broker: PostgresBroker, words: str) -> Check:
    checks = broker.checkup()
    [check] = [check for check in checks if words in check.text]
    return check


def test_a_healthy_database(broker: PostgresBroker) -> None:
    add(broker)
    with broker.waiter(["queue:default"]):
        checks = broker.checkup()
    assert {check.level for check in checks} == {Level.OK}, checks
    text = "\n".join(check.text for check in checks)
    for words in ("answers", "of this version", "on disk when it returns", "dead rows", "1 waiter waits"):
        assert words in text


def test_there_is_no_schema_yet_and_looking_makes_none(broker: PostgresBroker) -> None:
    assert found(broker, "no schema").next_step == "backburner migrate --url URL"
    assert not broker.exists()


def test_a_server_that_is_away(url: str) -> None:
    [check] = PostgresBroker(
        url.replace("127.0.0.1:", "127.0.0.1:1")[: url.index("/postgres?") + 1]
    ).checkup()
    assert (check.level, "cannot reach" in check.text) == (Level.FAIL, True)


@pytest.mark.parametrize(
    ("setting", "level", "words"),
    [
        ("synchronous_commit=off", Level.WARN, "jobs of its last second are lost"),
        ("default_transaction_read_only=on", Level.FAIL, "read_only is on for this role"),
    ],
)
def test_settings_that_break_the_promise(
    broker: PostgresBroker, url: str, setting: str, level: Level, words: str
) -> None:
    add(broker)
    options = quote(f"-c {setting}")
    assert found(PostgresBroker(f"{url}&options={options}"), words).level == level


def test_who_holds_vacuum_back_is_named(
    broker: PostgresBroker, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backburner.brokers.postgres.doctor.OLD", 0.0)
    add(broker)
    with psycopg.connect(url.partition("?")[0], application_name="report") as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute(f"SELECT * FROM {schema_of(url)}.jobs".encode())
        check = found(broker, "held a snapshot")
        assert f"session {old.info.backend_pid} (report, idle in transaction)" in check.text
        assert check.next_step is not None
        assert f"pg_terminate_backend({old.info.backend_pid})" in check.next_step


def test_a_schema_of_another_version(broker: PostgresBroker, url: str) -> None:
    add(broker)
    sql(url, f"INSERT INTO {schema_of(url)}.migrations VALUES (99, 'future')")
    assert found(broker, "newer Backburner").level == Level.FAIL
    sql(url, f"DELETE FROM {schema_of(url)}.migrations WHERE number > 1")
    assert found(broker, "which is old").next_step == "backburner migrate --url URL"


def test_a_pooler_that_swallows_wake_ups(broker: PostgresBroker, url: str, pgbouncer: PgBouncer) -> None:
    add(broker)
    through = PostgresBroker(url.replace(url.partition("?")[0], pgbouncer.url()))
    check = found(through, "do not come through a pooler")
    assert check.level == Level.WARN
    assert "listen=" in (check.next_step or "")
