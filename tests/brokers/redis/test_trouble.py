"""Servers that refuse, and what a user reads then."""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from backburner.brokers.redis import server
from backburner.brokers.redis.broker import RedisBroker
from backburner.doctor import Level
from backburner.errors import BrokerError, BrokerUnavailable
from tests.brokers.redis.conftest import Connect, add, ids, new_job, settle, take
from tests.servers.base import free_port, wait_until
from tests.servers.cluster import RedisCluster
from tests.servers.redis import RedisServer


def refusal(connect: Connect, url: str, **parameters: object) -> BrokerError:
    broker = connect(url, **parameters)
    with pytest.raises(BrokerError) as caught:
        add(broker)
    [check, *_] = broker.checkup()
    assert (check.level, check.text) == (Level.FAIL, str(caught.value))
    return caught.value


def test_nobody_listens_there(connect: Connect) -> None:
    error = refusal(connect, f"redis://127.0.0.1:{free_port()}", patience=0.3)
    assert isinstance(error, BrokerUnavailable)
    assert "is it running?" in str(error)


def test_a_wrong_password_is_said_at_once(tmp_path: Path, connect: Connect) -> None:
    with RedisServer(tmp_path, password="secret") as guarded:
        add(connect(guarded.url))
        for url in (guarded.url.replace("secret", "guess"), guarded.url.replace("//:", "//nobody:")):
            error = refusal(connect, url, patience=60)
            assert not isinstance(error, BrokerUnavailable)
            assert "correct them in the URL" in str(error)
            assert "guess" not in str(error)
        assert "asks for a password" in str(
            refusal(connect, guarded.url.replace(":secret@", ""), patience=60)
        )


def test_a_password_that_nobody_asked_for(redis_server: RedisServer, connect: Connect) -> None:
    error = refusal(connect, redis_server.url.replace("//", "//:secret@"), patience=60)
    assert "correct them in the URL" in str(error)


def test_a_database_that_is_not_there(redis_server: RedisServer, connect: Connect) -> None:
    error = refusal(connect, redis_server.url.replace("/0", "/99"), patience=60)
    assert "has no database of that number" in str(error)


def test_a_server_that_is_not_trusted_or_speaks_no_tls(
    tmp_path: Path, redis_server: RedisServer, connect: Connect
) -> None:
    with RedisServer(tmp_path, tls=True) as secure:
        broker = connect(secure.url)
        with broker.waiter(["queue:default"]) as waiter:
            assert not waiter.wait(0.2)
            assert add(broker).id in ids(broker)
            assert waiter.wait(5) or waiter.wait(5)
        stranger = refusal(connect, secure.url.partition("?")[0], patience=60)
        assert "ssl_ca_certs" in str(stranger)
    plain = refusal(connect, redis_server.url.replace("redis:", "rediss:"), patience=0.3)
    assert "is TLS spoken there?" in str(plain)


def test_a_tls_connection_that_ends_too_soon_may_come_back(connect: Connect) -> None:
    """As behind a balancer whose server is away."""

    def hang_up() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                client.recv(1000)
                client.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=hang_up)
        thread.start()
        error = refusal(connect, f"rediss://127.0.0.1:{listener.getsockname()[1]}", patience=0.3)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert isinstance(error, BrokerUnavailable)
    assert "is TLS spoken there?" in str(error)


def test_a_user_without_rights(tmp_path: Path, connect: Connect) -> None:
    with RedisServer(tmp_path) as guarded, guarded.client() as client:
        client.execute_command("ACL", "SETUSER", "poor", "on", ">pw", "~*", "&*", "+@read", "+info", "+time")
        error = refusal_of_work(connect, guarded.url.replace("//", "//poor:pw@"))
        assert "does not let this user do that" in str(error)


def refusal_of_work(connect: Connect, url: str) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        add(connect(url))
    return caught.value


RIGHTS = (
    "~{backburner}* resetchannels &{backburner}* +@read +@write +@connection +@scripting +@pubsub +info +time"
)


@pytest.mark.parametrize("kind", ["single", "cluster"])
def test_the_rights_in_the_documentation_are_enough(
    request: pytest.FixtureRequest, tmp_path: Path, connect: Connect, kind: str
) -> None:
    page = (Path(__file__).parents[3] / "docs/brokers/redis.md").read_text()
    assert RIGHTS in page
    with ExitStack() as stack:
        if kind == "single":
            server = stack.enter_context(RedisServer(tmp_path))
            members, url, rights = [server], server.url, RIGHTS
        else:
            cluster = request.getfixturevalue("redis_cluster")
            members, url, rights = cluster.members, cluster.url, f"{RIGHTS} +cluster"
        for member in members:
            client = stack.enter_context(member.client())
            client.execute_command("ACL", "SETUSER", "app", "reset", "on", ">pw", *rights.split())
        broker = connect(url.replace("//", "//app:pw@"), prefix="backburner")
        stack.callback(broker.close)
        job = add(broker)
        with broker.waiter([f"job:{job.id}"]) as waiter:
            assert settle(broker, take(broker)) == []
            assert waiter.wait(30)


def test_a_full_memory_refuses_jobs_and_goes_on_when_there_is_room(tmp_path: Path, connect: Connect) -> None:
    with RedisServer(tmp_path) as full, full.client() as client:
        broker = connect(full.url)
        stored = {add(broker).id}
        [running] = take(broker)
        waits, finished = add(broker, queue="other"), add(broker)
        settle(broker, take(broker), keep=0)
        client.config_set("maxmemory", "100kb")
        with pytest.raises(BrokerUnavailable, match="maxmemory; nothing was stored"):
            add(broker)
        assert any(check.level is Level.FAIL and "maxmemory" in check.text for check in broker.checkup())
        assert broker.run(broker.delete([waits.id])) == [waits.id], "what gives memory back still works"
        assert broker.run(broker.prune(10, 10)).deleted == 1
        assert finished.id not in ids(broker)
        client.config_set("maxmemory", "0")
        assert settle(broker, [running]) == []
        stored.add(add(broker).id)
        assert ids(broker) == stored


def test_a_read_only_replica_is_told_apart(
    tmp_path: Path, redis_server: RedisServer, connect: Connect
) -> None:
    with RedisServer(tmp_path, "--replicaof", "127.0.0.1", str(redis_server.port)) as replica:
        broker = connect(replica.url, patience=0.3)
        with pytest.raises(BrokerUnavailable, match="read-only replica"):
            add(broker)
        assert any(check.level is Level.FAIL and "replica" in check.text for check in broker.checkup())


def test_too_many_clients(tmp_path: Path, connect: Connect) -> None:
    with RedisServer(tmp_path) as small, small.client() as client:
        broker = connect(small.url)
        client.config_set("maxclients", "1")
        with pytest.raises(BrokerUnavailable, match="maxclients"):
            add(connect(small.url, patience=0.3))
        client.config_set("maxclients", "100")
        assert add(broker).id in ids(broker)


def test_a_node_of_a_cluster_is_told_apart(redis_cluster: RedisCluster, connect: Connect) -> None:
    url = redis_cluster.url
    ports = [part.rpartition(":")[2] for part in url.split(",")]
    said = []
    for port in ports:
        broker = connect(f"redis://127.0.0.1:{port}", patience=60)
        try:
            add(broker)
        except BrokerError as error:
            said.append(str(error))
    assert len(said) == 2
    assert all("write redis+cluster://" in each for each in said)


@pytest.mark.parametrize("version", [(6, 0, 16), (5, 0)])
def test_a_server_that_is_too_old_is_refused(version: tuple[int, ...]) -> None:
    with pytest.raises(BrokerError, match=r"is Redis .* and Backburner needs 6\.2 or newer"):
        server.refuse_old("Redis", version, "redis://h")
    server.refuse_old("Redis", (6, 2, 0), "redis://h")
    server.refuse_old("Valkey", (8, 0), "valkey://h")


def test_a_server_that_may_lose_jobs_is_warned_of_once(
    tmp_path: Path, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    options = ("--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
    with RedisServer(tmp_path, *options) as careless, caplog.at_level(logging.WARNING, "backburner"):
        broker = connect(careless.url)
        jobs = [add(broker) for _ in range(3)]
        assert len(jobs) == 3
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == 2
        assert "noeviction" in said[0]
        assert "all jobs are lost when it stops" in said[1]
        assert {check.level for check in broker.checkup() if check.next_step} == {Level.WARN, Level.FAIL}


def test_a_safe_server_is_not_warned_of(
    redis_server: RedisServer, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    broker = connect(redis_server.url)
    add(broker)
    assert caplog.records == []
    assert {check.level for check in broker.checkup()} == {Level.OK}


def test_a_service_that_forbids_config_works(tmp_path: Path, connect: Connect) -> None:
    with RedisServer(tmp_path, "--rename-command", "CONFIG", "", "--appendonly", "no") as managed:
        broker = connect(managed.url)
        assert add(broker).id in ids(broker)
        assert any("CONFIG is forbidden" in check.text for check in broker.checkup())


def test_a_frozen_server_is_an_error_and_no_hang(tmp_path: Path, connect: Connect) -> None:
    with RedisServer(tmp_path) as frozen:
        broker = connect(frozen.url, patience=0.5)
        add(broker)
        frozen.freeze()
        with pytest.raises(BrokerUnavailable, match="does not answer"):
            add(broker)
        frozen.thaw()
        assert add(broker).id in ids(broker)


def test_a_call_waits_for_a_server_that_comes_back(tmp_path: Path, connect: Connect) -> None:
    with RedisServer(tmp_path) as server:
        broker = connect(server.url, patience=50)
        first = add(broker)
        server.kill()
        found: list[str] = []
        caller = threading.Thread(target=lambda: found.append(add(broker).id))
        caller.start()
        wait_until(lambda: not broker._driver._idle, "the caller has taken the connection that is dead")
        server.start()
        caller.join(50)
        assert ids(broker) == {first.id, *found}
        assert len(found) == 1


def test_a_job_of_any_name_is_kept_apart(broker: RedisBroker) -> None:
    odd = "a:b{c}'\"\\ é📷\n"
    job = add(broker, id=odd, task=odd, queue=odd, key=odd)
    again = broker.run(broker.enqueue([new_job(key=odd)], {}))
    assert again[0].id == job.id == odd
