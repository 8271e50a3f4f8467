"""What a soak run sees of each broker follows what is in it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pika
import psycopg

from backburner import Backburner
from soak.stores import Postgres, Rabbit, Redis, Sqlite, Store
from tests.servers.postgres import PostgresServer
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer

TELL = "SELECT pg_stat_force_next_flush()"
"""Otherwise PostgreSQL tells its counts once a second at most."""


def fill(store: Store) -> None:
    """Jobs that wait, of 10 kB each."""
    app = Backburner(store.url, results=store.results)
    app.named("tasks.any").enqueue_many([("x" * 10_000,)] * 500)
    app.close()


def test_sqlite(tmp_path: Path) -> None:
    store = Sqlite(tmp_path)
    Backburner(store.url).broker.migrate()
    before = store.state()
    fill(store)
    after = store.state()
    assert after["size"] > before["size"] + 4
    assert after["file"] >= after["size"]


def test_redis(redis_server: RedisServer) -> None:
    with closing(Redis(redis_server)) as store:
        before = store.state()
        fill(store)
        after = store.state()
        with redis_server.client() as another:
            another.ping()
            assert store.state()["connections"] == after["connections"] + 1
    assert after["keys"] >= before["keys"] + 500
    assert after["size"] > before["size"] + 4


def test_postgres(postgres_server: PostgresServer) -> None:
    with closing(Postgres(postgres_server)) as store, psycopg.connect(store.url, autocommit=True) as another:
        another.execute(
            "CREATE TABLE soaked AS SELECT repeat('x', 100) AS text FROM generate_series(1, 1000)"
        )
        another.execute(TELL)
        before = store.state()
        another.execute("UPDATE soaked SET text = 'y'")
        another.execute(TELL)
        after = store.state()
        another.execute("DROP TABLE soaked")
    assert after["dead tuples"] == before["dead tuples"] + 1000
    assert before["rows"] >= 1000
    assert before["connections"] >= 2


def test_rabbitmq(rabbit_server: RabbitServer, redis_server: RedisServer) -> None:
    store = Rabbit(rabbit_server, Redis(redis_server))
    before = store.state()
    with closing(store), pika.BlockingConnection(pika.URLParameters(store.url)) as connection:
        channel = connection.channel()
        channel.queue_declare("soaked", exclusive=True)
        channel.confirm_delivery()
        channel.basic_publish("", "soaked", b"")
        after = store.state()
        assert any(series.whose == "redis" for series in store.measure())
    assert {what: after[what] - before[what] for what in after} == {
        "queues": 1,
        "messages": 1,
        "connections": 1,
        "channels": 1,
    }
